"""Random streams: every image has its own, so that a result depends on neither batch, order nor workers.

The key of a stream mixes (seed, crc32 of the corruption's name, severity, index of the image in its data
set) with SplitMix64: Steele, Lea & Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014,
https://doi.org/10.1145/2660193.2660195.
"""

import zlib
from collections.abc import Iterable

_MASK = (1 << 64) - 1


def splitmix64(state: int) -> int:
    """The output of SplitMix64 that follows `state`: a bijection of 64-bit integers."""
    z = (state + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def stream_keys(seed: int, name: str, severity: int, index: Iterable[int]) -> list[int]:
    """The key of each image's random stream, in [0, 2^63).

    Formula: k = m(m(m(m(seed) ^ crc32(name)) ^ severity) ^ index) >> 1, with m = `splitmix64`.

    Args:
        seed: any integer; only its lowest 64 bits count.
        name: canonical name of the corruption.
        severity: 1 to 5.
        index: indices of the images in their data set.
    """
    condition = splitmix64(splitmix64(splitmix64(seed & _MASK) ^ zlib.crc32(name.encode())) ^ severity)
    return [splitmix64(condition ^ (i & _MASK)) >> 1 for i in index]
