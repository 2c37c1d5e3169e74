"""Every error that a user can cause.

    ConvbenchError          exit 2: one line on stderr, no traceback
    ├── ConfigError         an option out of its range, or options that contradict each other
    │   └── UnknownNameError    a name that no registry knows
    ├── DataError           a data set that is missing, truncated or malformed
    ├── CheckpointError     weights or a run folder that cannot be used
    ├── ResultsError        a results file that is not ours, torn, or with a repeated key
    ├── NotComparableError  exit 3: the runs cannot be compared, or a run is incomplete
    └── MetricNotDefinedError   this number does not exist for this network; the reason is the message

A message says what was asked, what was found and what is possible.
"""

import difflib
from collections.abc import Iterable


class ConvbenchError(Exception):
    """Base of all errors that end in one line on stderr and `exit_code`."""

    exit_code = 2


class ConfigError(ConvbenchError):
    """An option is out of range or contradicts another."""


class UnknownNameError(ConfigError):
    """A name is not in its registry; the message suggests the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"unknown {kind} {name!r}.{hint} Choose from: {', '.join(names)}.")


class DataError(ConvbenchError):
    """A data set is missing, truncated or malformed."""


class CheckpointError(ConvbenchError):
    """Weights or a run folder cannot be used."""


class ResultsError(ConvbenchError):
    """A results file is not ours, is torn, or repeats a key."""


class NotComparableError(ConvbenchError):
    """Runs cannot be compared, or a run is incomplete."""

    exit_code = 3


class MetricNotDefinedError(ConvbenchError):
    """A metric does not exist for this network; the message is the reason."""
