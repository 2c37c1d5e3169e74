"""The passes of mixture normalization over channels_last memory, as compiled loops; see `compiled_passes`.

The batch `x` (M, C) comes in `parts` (I, 2), each a range of rows; a call works on the parts from `first` to before
`last`, and writes sums of its own for each. Arithmetic has the type of the coefficients. `each` is a tuple as long as
there are components: the compiler knows its length, and unrolls loops over it.

Rows are worked on four at a time, which reads a coefficient once for four of them; missing ones at the end are zero.
"""

import numpy as np

from convbench.norms.mixtures.compiled import compiled
from convbench.norms.mixtures.loop_arithmetic import narrow, posteriors, widen

TILE = 32  # rows at a time, a multiple of four


@compiled
def _load(x, start, end, shift_c, value_tc):
    """`x - shift` of these rows, and zeros up to a multiple of four rows; their number."""
    for t in range(end - start):
        row, value = x[start + t], value_tc[t]
        for c in range(len(row)):
            value[c] = widen(row[c]) - shift_c[c]
    value_tc[end - start : (end - start + 3) // 4 * 4] = 0
    return end - start


@compiled
def _tile(like_c):
    """Unwritten memory for a tile of rows."""
    return np.empty((TILE, len(like_c)), like_c.dtype)


@compiled
def moments(first, last, parts, x, like, sum_ic, square_ic):
    """Sum of each part and channel, and of the squares about the part's mean; `like` has the type of arithmetic."""
    value_tc = _tile(like)
    for i in range(first, last):
        start, end = parts[i]
        whole, square, some, mean = sum_ic[i], square_ic[i], np.empty_like(like), np.zeros_like(like)
        whole[:], square[:] = 0, 0
        for m in range(start, end, TILE):
            some[:] = 0
            for t in range(0, _load(x, m, min(m + TILE, end), mean, value_tc), 4):
                v0, v1, v2, v3 = value_tc[t], value_tc[t + 1], value_tc[t + 2], value_tc[t + 3]
                for c in range(len(some)):
                    some[c] += (v0[c] + v1[c]) + (v2[c] + v3[c])
            for c in range(len(some)):
                whole[c] += some[c]
        for c in range(len(mean)):
            mean[c] = whole[c] / (end - start)
        for m in range(start, end, TILE):
            some[:] = 0
            for t in range(0, _load(x, m, min(m + TILE, end), mean, value_tc), 4):
                v0, v1, v2, v3 = value_tc[t], value_tc[t + 1], value_tc[t + 2], value_tc[t + 3]
                for c in range(len(some)):
                    some[c] += (v0[c] * v0[c] + v1[c] * v1[c]) + (v2[c] * v2[c] + v3[c] * v3[c])
            for c in range(len(some)):
                square[c] += some[c]


@compiled
def _posteriors(value_tc, count, linear_kc, square_kc, constant_k, resp_kt):
    """Those of the first `count` rows, in the first columns of `resp_kt`; 0 for missing rows of the last four."""
    zero = value_tc.dtype.type(0)
    for t in range(0, count, 4):
        v0, v1, v2, v3 = value_tc[t], value_tc[t + 1], value_tc[t + 2], value_tc[t + 3]
        for k in range(len(constant_k)):
            linear, square = linear_kc[k], square_kc[k]
            l0, l1, l2, l3 = zero, zero, zero, zero
            for c in range(len(linear)):
                a, b = square[c], linear[c]
                l0 += v0[c] * (v0[c] * a + b)
                l1 += v1[c] * (v1[c] * a + b)
                l2 += v2[c] * (v2[c] * a + b)
                l3 += v3[c] * (v3[c] * a + b)
            resp_kt[k, t], resp_kt[k, t + 1], resp_kt[k, t + 2], resp_kt[k, t + 3] = l0, l1, l2, l3
    posteriors(resp_kt, constant_k, count)
    resp_kt[:, count:] = 0


@compiled
def _add_products(resp_kt, count, value_tc, sum_kc):
    """Add the sums of `resp * value` over these rows, which are float64: only a tile's stay in the values' type."""
    some = np.empty_like(value_tc[0])
    for k in range(len(sum_kc)):
        some[:] = 0
        for t in range(0, count, 4):
            v0, v1, v2, v3 = value_tc[t], value_tc[t + 1], value_tc[t + 2], value_tc[t + 3]
            r0, r1, r2, r3 = resp_kt[k, t], resp_kt[k, t + 1], resp_kt[k, t + 2], resp_kt[k, t + 3]
            for c in range(len(some)):
                some[c] += (r0 * v0[c] + r1 * v1[c]) + (r2 * v2[c] + r3 * v3[c])
        for c in range(len(some)):
            sum_kc[k, c] += some[c]


@compiled
def assign(
    first, last, parts, x, shift_c, linear_kc, square_kc, constant_k, resp, mass_ik, first_ikc, second_ikc, each
):
    """Posteriors `resp` (K, M); each part's sums of them, and of their products with x - shift and its square."""
    zero = shift_c.dtype.type(0)
    value_tc = _tile(shift_c)
    resp_kt = np.empty((len(each), TILE), shift_c.dtype)
    for i in range(first, last):
        start, end = parts[i]
        mass_ik[i], first_ikc[i], second_ikc[i] = 0, 0, 0
        for m in range(start, end, TILE):
            count = _load(x, m, min(m + TILE, end), shift_c, value_tc)
            _posteriors(value_tc, count, linear_kc, square_kc, constant_k, resp_kt)
            for k in range(len(each)):
                share, kept, mass = resp_kt[k], resp[k, m : m + count], zero
                for t in range(len(kept)):
                    kept[t] = share[t]
                    mass += share[t]
                mass_ik[i, k] += mass
            _add_products(resp_kt, count, value_tc, first_ikc[i])
            for t in range(count):
                value = value_tc[t]
                for c in range(len(value)):
                    value[c] *= value[c]
            _add_products(resp_kt, count, value_tc, second_ikc[i])


@compiled
def _combine(value_tc, start, count, scale_kc, offset_kc, resp_kt, y, each):
    """`y = sum_k resp_k (scale_k value + offset_k)` for these rows."""
    zero = value_tc.dtype.type(0)
    for t in range(count):
        value, out = value_tc[t], y[start + t]
        for c in range(len(value)):
            scale, offset = zero, zero
            for k in range(len(each)):
                scale += resp_kt[k, t] * scale_kc[k, c]
                offset += resp_kt[k, t] * offset_kc[k, c]
            out[c] = narrow(scale * value[c] + offset, out)


@compiled
def _share(resp, start, count, resp_kt, each):
    """The kept posteriors of these rows, in the first columns of `resp_kt`; 0 for missing rows of the last four."""
    for k in range(len(each)):
        kept, share = resp[k, start : start + count], resp_kt[k]
        for t in range(len(kept)):
            share[t] = kept[t]
        share[count:] = 0


@compiled
def transform(first, last, parts, x, resp, shift_c, scale_kc, offset_kc, y, each):
    """`y = sum_k resp_k (scale_k (x - shift) + offset_k)`."""
    value_tc = _tile(shift_c)
    resp_kt = np.empty((len(each), TILE), shift_c.dtype)
    for i in range(first, last):
        start, end = parts[i]
        for m in range(start, end, TILE):
            count = _load(x, m, min(m + TILE, end), shift_c, value_tc)
            _share(resp, m, count, resp_kt, each)
            _combine(value_tc, m, count, scale_kc, offset_kc, resp_kt, y, each)


@compiled
def evaluate(first, last, parts, x, shift_c, linear_kc, square_kc, constant_k, scale_kc, offset_kc, y, each):
    """The same with the posteriors p(k | x), which are not kept."""
    value_tc = _tile(shift_c)
    resp_kt = np.empty((len(each), TILE), shift_c.dtype)
    for i in range(first, last):
        start, end = parts[i]
        for m in range(start, end, TILE):
            count = _load(x, m, min(m + TILE, end), shift_c, value_tc)
            _posteriors(value_tc, count, linear_kc, square_kc, constant_k, resp_kt)
            _combine(value_tc, m, count, scale_kc, offset_kc, resp_kt, y, each)


@compiled
def reduce(first, last, parts, x, grad, resp, shift_c, grad_ikc, product_ikc, each):
    """Each part's sums of `resp * grad` and of `resp * grad * (x - shift)`."""
    value_tc, grad_tc = _tile(shift_c), _tile(shift_c)
    resp_kt = np.empty((len(each), TILE), shift_c.dtype)
    for i in range(first, last):
        start, end = parts[i]
        grad_ikc[i], product_ikc[i] = 0, 0
        for m in range(start, end, TILE):
            count = _load(x, m, min(m + TILE, end), shift_c, value_tc)
            _share(resp, m, count, resp_kt, each)
            for t in range(count):
                value, upstream, wide = value_tc[t], grad[m + t], grad_tc[t]
                for c in range(len(value)):
                    wide[c] = widen(upstream[c])
                    value[c] *= widen(upstream[c])
            grad_tc[count : (count + 3) // 4 * 4] = 0
            _add_products(resp_kt, count, grad_tc, grad_ikc[i])
            _add_products(resp_kt, count, value_tc, product_ikc[i])


@compiled
def gradient(first, last, parts, x, grad, resp, scale_kc, slope_kc, level_kc, out, each):
    """`out = sum_k resp_k (scale_k grad + slope_k x + level_k)`."""
    zero = scale_kc.dtype.type(0)
    for i in range(first, last):
        start, end = parts[i]
        for m in range(start, end):
            row, upstream, result = x[m], grad[m], out[m]
            for c in range(len(row)):
                scale, slope, level = zero, zero, zero
                for k in range(len(each)):
                    scale += resp[k, m] * scale_kc[k, c]
                    slope += resp[k, m] * slope_kc[k, c]
                    level += resp[k, m] * level_kc[k, c]
                result[c] = narrow(scale * widen(upstream[c]) + slope * widen(row[c]) + level, result)
