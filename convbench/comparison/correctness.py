"""Which images a run classified rightly: the bits beside its results, and each image's accuracy over conditions."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convbench.comparison.runs import Run
from convbench.errors import ResultsError
from convbench.files import read_json
from convbench.metrics.corruption_error import Condition

if TYPE_CHECKING:  # numpy costs a tenth of a second: only who has bits pays for it
    import numpy as np


def read_bits(cell: Mapping[str, Any], where: object) -> np.ndarray:
    """The bits of a cell file: bool `(n,)`, in the order of the images measured.

    Raises:
        ResultsError: there are none, or not as many as the cell says.
    """
    import numpy as np

    try:
        packed = np.frombuffer(base64.b64decode(cell["correct"], validate=True), dtype=np.uint8)
        if packed.size != -(-cell["n"] // 8):
            raise ValueError(f"{packed.size} bytes for {cell['n']} images")
        return np.unpackbits(packed, count=cell["n"]).astype(bool)
    except (KeyError, TypeError, ValueError) as error:
        raise ResultsError(f"{where} holds no correctness bits ({error}).") from None


class ImageAccuracies:
    """What runs did with each image; a run's bits are read when first asked for, and once."""

    def __init__(self) -> None:
        self._bits: dict[tuple[Path, Condition], np.ndarray | None] = {}

    def of(self, run: Run, conditions: Sequence[Condition]) -> np.ndarray | None:
        """The share of `conditions` under which `run` classified each image rightly: float64 `(N,)` in [0, 1].

        None where it has no bits of one of them (a CSV alone), or not of equally many images.

        Raises:
            ResultsError: bits that are damaged, or that contradict the results beside them.
        """
        total: np.ndarray | None = None
        for condition in conditions:
            bits = self._read(run, condition)
            if bits is None or (total is not None and len(total) != len(bits)):
                return None
            total = bits.astype(float) if total is None else total + bits
        return None if total is None else total / len(conditions)

    def _read(self, run: Run, condition: Condition) -> np.ndarray | None:
        if run.path is None or not run.settings:
            return None  # settings are there only where the folder describes this one run
        key = run.path, condition
        if key not in self._bits:
            self._bits[key] = _checked(run, run.path, condition)
        return self._bits[key]


def _checked(run: Run, results: Path, condition: Condition) -> np.ndarray | None:
    path = results.parent / "evaluation" / f"{condition[0]}-{condition[1]}.json"
    stated = (row for row in run.rows if row.metric == "accuracy" and (row.corruption, row.severity) == condition)
    row = next((row for row in stated if not row.attack), None)
    if row is None or not path.is_file():
        return None
    bits = read_bits(read_json(path, ResultsError), path)
    if (len(bits), int(bits.sum())) != (row.n, round(row.value * row.n)):
        raise ResultsError(
            f"{path} has {bits.sum()} of {len(bits)} images right, {results} says {row.value:g}: one of them is of "
            "another evaluation. `convbench evaluate --overwrite` measures the run anew."
        )
    return bits
