"""`convbench compare`: a gate, or runs side by side. Bodies import what they call, so that `--help` stays fast."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from convbench.cli import gating
from convbench.errors import ConfigError

TABLE_KINDS = ("md", "csv", "plots", "latex")


def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="BASELINE CANDIDATE",
            help="Each a run folder, a results CSV, a baseline file (.cbbase), git:REV:PATH of one, or a quoted glob "
                 "(seeds of one network). Two or more: a gate, the first is the baseline. None or one: a table of "
                 "every run under runs/, or there.",
            show_default=False,
        ),
    ] = None,
    max_drop: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC=POINTS", show_default=False,
                     help="Gate: how far this may fall, in percentage points: accuracy=0.5, "
                          "mean_corrupted_accuracy=0.5, cell:corruption=fog,severity=5=3; may be repeated."),
    ] = None,
    max_rise: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC=AMOUNT", show_default=False,
                     help="Gate: how far this may rise: lipschitz_upper=5%, ece=0.01, mce=1; may be repeated."),
    ] = None,
    minimum: Annotated[
        list[str] | None,
        typer.Option("--min", metavar="METRIC=PERCENT", show_default=False,
                     help="Gate: the least value whatever the baseline: accuracy=90; may be repeated."),
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(metavar="VERDICTS", show_default=False,
                     help="Gate: what fails it, of regressed, suspect, missing, underpowered, broken. "
                          "[default: regressed,broken,missing]"),
    ] = None,
    gate: Annotated[
        list[str] | None,
        typer.Option(metavar="WHAT", show_default=False,
                     help="Gate: beside the aggregates let conditions or layers fail it."),
    ] = None,
    strict: Annotated[
        bool | None,
        typer.Option("--strict/--no-strict", show_default=False,
                     help="Gate: regressed only where the whole interval lies beyond the margin."),
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="Gate: two-sided level of tests. [default: 0.05]", show_default=False)
    ] = None,
    correction: Annotated[
        str | None,
        typer.Option(metavar="METHOD", show_default=False,
                     help="Gate: over conditions: holm, bh or none. [default: holm]"),
    ] = None,
    resamples: Annotated[
        int | None, typer.Option(help="Gate: of the bootstrap. [default: 2000]", show_default=False)
    ] = None,
    filter: Annotated[
        str | None,
        typer.Option(metavar="EXPRESSION", show_default=False,
                     help="Gate: compare these conditions only: 'corruption:(fog OR frost) severity:3-5', "
                          "'-corruption:blur'."),
    ] = None,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Gate: report only, exit 0 where it fails.")] = False,
    allow_missing_baseline: Annotated[
        bool,
        typer.Option("--allow-missing-baseline",
                     help="Gate: where the .cbbase file does not exist, make it of the candidate and exit 0."),
    ] = False,
    no_summary: Annotated[
        bool, typer.Option("--no-summary", help="Gate: no job summary, annotations and outputs of GitHub Actions.")
    ] = False,
    by: Annotated[
        str | None,
        typer.Option(help="Table, also of two or more: group by this column (norm, model, dataset, label_noise_rate, "
                          "run_id ...). [default: norm]", show_default=False),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="Table: the group to compare with. Without: bn when grouping by norm, else the oldest run's.",
                     show_default=False),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="NAME", show_default=False,
                     help="Table: also show this number over conditions: mean_corrupted_accuracy, mean_ce, "
                          "relative_accuracy (each :severity=5, :corruptions=common), mce_alexnet, "
                          "relative_mce_alexnet, mce:baseline=RUN, relative_mce:baseline=RUN; may be repeated.")
    ] = None,
    output: Annotated[
        list[str] | None,
        typer.Option("--output", "-o", metavar="KIND=PATH", show_default=False,
                     help=f"Also write this; may be repeated. Gate: {', '.join(gating.KINDS)}, PATH - is stdout. "
                          f"Table: {', '.join(TABLE_KINDS)}."),
    ] = None,
) -> None:  # fmt: skip
    """Is the candidate less robust than the baseline? With one argument or none: runs side by side.

    Exit codes of the gate: 0 passed, 1 failed, 2 bad input or an output that could not be written, 3 not comparable, no
    baseline, or an incomplete run. Its rules may also stand in [tool.convbench.compare] of pyproject.toml or [compare]
    of convbench.toml; what is given here wins.
    """
    limits = {"--max-drop": max_drop, "--max-rise": max_rise, "--min": minimum, "--fail-on": fail_on, "--gate": gate,
              "--strict": strict, "--alpha": alpha, "--correction": correction, "--resamples": resamples,
              "--filter": filter, "--exit-zero": exit_zero or None,
              "--allow-missing-baseline": allow_missing_baseline or None}  # fmt: skip
    if by is not None or len(runs or ()) < 2:
        _refuse(limits, "is for a gate, a baseline and a candidate without --by")
        _show_table(runs or (), by or "norm", baseline, metric or (), output or ())
        return
    _refuse({"--baseline": baseline, "--metric": metric}, "is for tables: add --by, as --by norm")
    outputs = gating.parse_outputs(output or ())

    from convbench.gate.rules import rules_from_files, rules_from_flags

    flags = rules_from_flags(
        max_drop=max_drop or (),
        max_rise=max_rise or (),
        minimum=minimum or (),
        fail_on=fail_on or (),
        gate=gate or (),
        strict=strict,
        alpha=alpha,
        correction=correction,
        resamples=resamples,
        filter=filter,
    )
    code = gating.gate(
        runs or (),
        flags.over(rules_from_files()),
        outputs,
        github=not no_summary,
        exit_zero=exit_zero,
        allow_missing_baseline=allow_missing_baseline,
    )
    if code:
        raise typer.Exit(code)


def _refuse(options: dict[str, Any], why: str) -> None:
    """Refuse options that would be ignored."""
    for flag, value in options.items():
        if value is not None and value != []:
            raise ConfigError(f"{flag} {why}.")


def _show_table(
    runs: Sequence[str], by: str, baseline: str | None, metric: Sequence[str], output: Sequence[str]
) -> None:
    outputs = [_parse_output(text) for text in output]

    from convbench.comparison import Comparison, load_runs
    from convbench.comparison import compare as compare_runs
    from convbench.comparison.aggregates import parse_aggregate
    from convbench.comparison.markdown import markdown_text
    from convbench.comparison.terminal import terminal_text
    from convbench.comparison.tidy import tidy_text
    from convbench.files import write_atomically

    def write_plots(comparison: Comparison, folder: Path) -> None:
        from convbench.plots import write_plots  # matplotlib takes a second; only who asks pays

        write_plots(comparison, folder)

    def write_latex(comparison: Comparison, path: Path) -> None:
        from convbench.comparison.latex import latex_text

        write_atomically(path, latex_text(comparison))

    writers: dict[str, Callable[[Comparison, Path], object]] = {
        "md": lambda comparison, path: write_atomically(path, markdown_text(comparison)),
        "csv": lambda comparison, path: write_atomically(path, tidy_text(comparison)),
        "plots": write_plots,
        "latex": write_latex,
    }
    for name in metric:
        parse_aggregate(name)  # a wrong name ends here, before any run is read
    loaded = load_runs(runs)
    comparison = compare_runs(loaded.runs, by=by, baseline=baseline, metrics=metric, notes=loaded.notes)
    for kind, path in outputs:
        writers[kind](comparison, path)
    text = terminal_text(comparison, styled=sys.stdout.isatty())
    # A terminal that cannot show ± still gets its table.
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), end="")


def _parse_output(text: str) -> tuple[str, Path]:
    kind, equals, path = text.partition("=")
    if kind not in TABLE_KINDS or not equals or not path:
        needs = f"; {kind} needs a baseline and a candidate" if kind in gating.KINDS.keys() - TABLE_KINDS else ""
        raise ConfigError(f"-o {text}: a table takes KIND=PATH with a kind of {', '.join(TABLE_KINDS)}{needs}.")
    return kind, Path(path)
