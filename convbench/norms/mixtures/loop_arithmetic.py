"""Arithmetic that compiled loops share: numbers of any type in and out, and the posteriors of a few positions.

Arithmetic is in float32 or float64. bfloat16, which NumPy does not know, comes as its bits, in uint16.
"""

import math

import numpy as np
from numba import types
from numba.extending import overload

from convbench.norms.mixtures.compiled import compiled

_LEAST = -1e30  # of a logit: a huge outlier, infinitely unlikely under every component, must not become NaN
_FLOOR = 1e-12  # POSTERIOR_FLOOR of batch_passes
_NEGLIGIBLE = -28.0  # exp of it is below the floor
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # n * high is exact
_LOG2_E = np.float32(1 / math.log(2))
_TAYLOR = tuple(np.float32(1 / math.factorial(n)) for n in range(7, -1, -1))  # to 5e-9 where |x| <= ln(2) / 2


def widen(value):
    """The number in the type that arithmetic is done in; for compiled loops only."""
    raise NotImplementedError


def narrow(value, like):
    """The number in the type of the array `like`, rounded to nearest, ties to even; for compiled loops only."""
    raise NotImplementedError


@overload(widen)
def _widen(value):
    if value == types.uint16:
        return lambda value: np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)
    return lambda value: value


@overload(narrow)
def _narrow(value, like):
    if like.dtype != types.uint16:
        return lambda value, like: value

    def rounded(value, like):
        bits = np.float32(value).view(np.uint32)
        even = np.uint32(bits >> np.uint32(16)) & np.uint32(1)
        upper = np.uint16(np.uint32(bits + np.uint32(0x7FFF) + even) >> np.uint32(16))
        is_number = value == value
        return upper if is_number else np.uint16(0x7FC0)

    return rounded


def exponential(value):
    """exp of a number in [-28, 0], and of NaN; for compiled loops only. That of float32 runs on whole vectors."""
    raise NotImplementedError


@overload(exponential, jit_options={"fastmath": {"contract"}})  # reordered, the parts of ln 2 would fall together
def _exponential(value):
    if value != types.float32:
        return lambda value: math.exp(value)

    def by_series(value):
        doublings = value * _LOG2_E
        if not doublings > np.float32(-64):  # NaN, which has no integer
            doublings = np.float32(-64)
        n = np.int32(doublings - np.float32(0.5))  # towards zero: to the nearest, as it is not positive
        rest = (value - n * _LN2_HIGH) - n * _LN2_LOW
        power = _TAYLOR[0]
        for coefficient in _TAYLOR[1:]:
            power = power * rest + coefficient
        return power * np.int32((n + np.int32(127)) << np.int32(23)).view(np.float32)

    return by_series


@compiled
def posteriors(logit_kt, constant_k, count):
    """The first `count` positions' log joint densities, less their constants, become posteriors, in place."""
    number = logit_kt.dtype.type
    least, floor, negligible, zero = number(_LEAST), number(_FLOOR), number(_NEGLIGIBLE), number(0)
    top_t, total_t = np.full(count, least), np.zeros(count, logit_kt.dtype)
    # One loop for each component: the compiler makes vectors of positions.
    for k in range(len(constant_k)):
        row_t, constant = logit_kt[k], constant_k[k]
        for p in range(count):
            logit = row_t[p] + constant
            row_t[p] = least if logit < least else logit
            top_t[p] = max(top_t[p], row_t[p])
    for k in range(len(constant_k)):
        row_t = logit_kt[k]
        for p in range(count):
            below = row_t[p] - top_t[p]
            power = exponential(negligible if below < negligible else below)
            row_t[p] = zero if below < negligible else power
            total_t[p] += row_t[p]
    for k in range(len(constant_k)):
        row_t = logit_kt[k]
        for p in range(count):
            share = row_t[p] / total_t[p]
            row_t[p] = zero if share <= floor else share
