"""`python -m convbench` and the `convbench` command."""

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from convbench.processors import limit_threads, sleep_early

    limit_threads()
    sleep_early()

    from convbench.cli.app import run

    sys.exit(run())


if __name__ == "__main__":
    main()
