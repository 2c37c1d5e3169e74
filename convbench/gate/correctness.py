"""The correctness bits of a whole run as text of a baseline file."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from convbench.gate.packing import pack, unpack
from convbench.metrics.corruption_error import Condition


def encode_bits(correct: Mapping[Condition, np.ndarray]) -> list[dict[str, Any]]:
    """The bits of all conditions as text, one block for each number of images.

    Images stand in the order of under how many conditions they were classified rightly, a count that is stored first:
    those under all, or none, then make long runs. That is 16 % smaller than in the order of the images.
    """
    of_size: dict[int, list[Condition]] = {}
    for condition, bits in correct.items():
        of_size.setdefault(len(bits), []).append(condition)
    blocks = []
    for n, conditions in of_size.items():
        table = np.stack([correct[condition] for condition in conditions])
        counts = table.sum(axis=0).astype("<u2")
        packed = np.packbits(table[:, np.argsort(counts, kind="stable")], axis=1)
        text = pack(counts.tobytes() + packed.tobytes())
        blocks.append({"n": n, "conditions": [list(condition) for condition in conditions], "bits": text})
    return blocks


def decode_bits(blocks: Sequence[Mapping[str, Any]]) -> dict[Condition, np.ndarray]:
    """The inverse of `encode_bits`; a `ValueError` where a block is damaged."""
    correct: dict[Condition, np.ndarray] = {}
    for block in blocks:
        n, conditions = block["n"], [(str(name), int(severity)) for name, severity in block["conditions"]]
        width = -(-n // 8)
        raw = np.frombuffer(unpack(block["bits"], 2 * n + len(conditions) * width), dtype=np.uint8)
        counts, packed = raw[: 2 * n].view("<u2"), raw[2 * n :].reshape(len(conditions), width)
        table = np.empty((len(conditions), n), dtype=bool)
        table[:, np.argsort(counts, kind="stable")] = np.unpackbits(packed, axis=1, count=n)
        if not np.array_equal(table.sum(axis=0), counts):
            raise ValueError("the bits contradict their counts")
        correct |= dict(zip(conditions, table, strict=True))
    return correct
