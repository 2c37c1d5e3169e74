"""The coefficients of G(w) = K(w)^H K(w), from the taps of the symbol K(w) = sum_t B_t exp(i w.t).

With A_d = sum_t B_t^T B_{t+d} and d over half of the differences of offsets,
    G(w) = A_0 + sum over d > 0 of cos(w.d) (A_d + A_d^T) + i sin(w.d) (A_d - A_d^T).
For a 3x3 kernel that is 45 products of taps. Only 13 are needed, for the 13 matrices A_d: K is a polynomial of z =
exp(i w), its values at 25 real points and at their inverses are real, P_z = K(1/z)^T K(z) has P_{1/z} = P_z^T, and G is
interpolated from the P_z (Toom 1963 and Cook 1966 for products of integers). The points here enlarge rounding errors
by at most 23 in two axes (searched for numerically).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_POINTS = {1: (), 2: (-3.7,), 3: (4.0, -1.8)}  # with 1 and the inverses: 2 n - 1 points for n taps along an axis
_POINTS_AT_ONCE = 5
_INTERPOLATED_SIDE = 48  # below, few large products win over few products


@dataclass(frozen=True)
class Autocorrelation:
    """G(w) = sum_k (cos(w.shifts) cosines)_k even_k + i (sin(w.shifts) sines)_k odd_k.

    Args:
        shifts: d, half of the differences of offsets, zero first: `(D, 2)`.
        even, odd: symmetric and antisymmetric matrices, D and D - 1 of `(m, m)`.
        cosines, sines: mixing of the waves, `(D, D)` and `(D, D - 1)`.
    """

    shifts: Tensor
    even: list[Tensor]
    odd: list[Tensor]
    cosines: Tensor
    sines: Tensor


def autocorrelation(taps: Tensor, offsets: Tensor) -> Autocorrelation:
    """Of one group's taps B, float64 `(taps, rows, columns)`, at offsets t, `(taps, 2)`; m is the number of columns."""
    axes = [sorted(set(column)) for column in offsets.T.tolist()]
    steps = [axis[1] - axis[0] if len(axis) > 1 else 1 for axis in axes]
    regular = all(axis == list(range(axis[0], axis[-1] + 1, step)) for axis, step in zip(axes, steps, strict=True))
    is_box = regular and len(offsets) == len(axes[0]) * len(axes[1])
    if is_box and max(map(len, axes)) <= max(_POINTS) and taps.shape[2] >= _INTERPOLATED_SIDE:
        return _interpolated(taps, offsets, torch.tensor(steps), (len(axes[0]), len(axes[1])))
    return _summed(taps, offsets)


def _summed(taps: Tensor, offsets: Tensor) -> Autocorrelation:
    """The A_d themselves."""
    pairs: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for a, t in enumerate(offsets.tolist()):
        for b, s in enumerate(offsets.tolist()):
            shift = (s[0] - t[0], s[1] - t[1])
            if shift >= (0, 0):
                pairs.setdefault(shift, []).append((a, b))
    products = []
    for shift in sorted(pairs):
        left, right = zip(*pairs[shift], strict=True)
        products.append(taps[list(left)].flatten(0, 1).T @ taps[list(right)].flatten(0, 1))
    a = torch.stack(products)
    even, odd = a + a.mT, a[1:] - a[1:].mT
    even[0] = a[0]
    identity = torch.eye(len(a), dtype=torch.float64)
    return Autocorrelation(torch.tensor(sorted(pairs)).double(), list(even), list(odd), identity, identity[:, 1:])


def _interpolated(taps: Tensor, offsets: Tensor, steps: Tensor, counts: tuple[int, int]) -> Autocorrelation:
    """The products P_z at real points z, split into their symmetric and antisymmetric parts."""
    values = [[1.0, *_POINTS[n], *(1 / x for x in _POINTS[n])] for n in counts]
    inverses = [[0, *range(n, 2 * n - 1), *range(1, n)] for n in counts]
    chosen = [  # one of each z and 1/z; (1, 1) is first and its own inverse
        (i, j)
        for i in range(len(values[0]))
        for j in range(len(values[1]))
        if (i, j) <= (inverses[0][i], inverses[1][j])
    ]
    z = torch.tensor([[values[0][i], values[1][j]] for i, j in chosen], dtype=torch.float64)
    powers = (offsets - offsets.amin(0)) // steps
    at_z, at_inverse = (x[:, None].pow(powers).prod(2) for x in (z, 1 / z))  # (points, taps)
    flat = taps.flatten(1)
    even, odd = [], []
    for points in torch.arange(len(z)).split(_POINTS_AT_ONCE):  # reading the taps costs as much as the products
        values_at = (torch.cat([at_inverse[points], at_z[points]]) @ flat).view(2, len(points), *taps.shape[1:])
        for front, back in values_at.unbind(1):
            p = front.T @ back
            even.append(p + p.T)
            odd.append(p - p.T)
    span = torch.tensor(counts) - 1
    shifts = torch.cartesian_prod(*(torch.arange(-int(s), int(s) + 1) for s in span))
    shifts = shifts[len(shifts) // 2 :]  # from (0, 0) on, in lexicographic order
    powered, inverted = z[:, None].pow(shifts).prod(2), z[:, None].pow(-shifts).prod(2)
    cosines = torch.linalg.inv(powered + inverted)
    sines = torch.zeros(len(shifts), len(shifts) - 1, dtype=torch.float64)
    sines[1:] = torch.linalg.inv((powered - inverted)[1:, 1:])
    return Autocorrelation((shifts * steps).double(), even, odd[1:], cosines, sines)
