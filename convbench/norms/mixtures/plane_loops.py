"""The passes of mixture normalization over NCHW memory, as compiled loops; see `compiled_passes`.

The batch `x` (N, C, P) comes in `parts` (I, 4), each a range of images and a range of positions; a call works on the
parts from `first` to before `last`, and writes sums of its own for each. Arithmetic has the type of the coefficients.
`each` is a tuple as long as there are components: the compiler knows its length, and unrolls loops over it.
"""

import numpy as np

from convbench.norms.mixtures.compiled import compiled
from convbench.norms.mixtures.loop_arithmetic import narrow, posteriors, widen

TILE = 1024  # positions at a time: their posteriors stay in the first cache, as rows next to each other


@compiled
def moments(first, last, parts, x, like, sum_ic, square_ic):
    """Sum of each part and channel, and of the squares about the part's mean; `like` has the type of arithmetic."""
    zero = like.dtype.type(0)
    for i in range(first, last):
        n0, n1, p0, p1 = parts[i]
        for c in range(x.shape[1]):
            whole = 0.0
            for n in range(n0, n1):
                for t in range(p0, p1, TILE):
                    row, some = x[n, c, t : min(t + TILE, p1)], zero
                    for p in range(len(row)):
                        some += widen(row[p])
                    whole += some
            mean = like.dtype.type(whole / ((n1 - n0) * (p1 - p0)))
            square = 0.0
            for n in range(n0, n1):
                for t in range(p0, p1, TILE):
                    row, some = x[n, c, t : min(t + TILE, p1)], zero
                    for p in range(len(row)):
                        difference = widen(row[p]) - mean
                        some += difference * difference
                    square += some
            sum_ic[i, c], square_ic[i, c] = whole, square


@compiled
def _posteriors(x, n, start, end, shift_c, linear_kc, square_kc, constant_k, resp_kt, each):
    """Those of the positions from `start` to before `end` of image `n`, in the first columns of `resp_kt`."""
    number = shift_c.dtype.type
    resp_kt[:] = 0
    for c in range(0, x.shape[1], 2):  # two channels each time that the sums are read and written
        d = min(c + 1, x.shape[1] - 1)
        row, shift, row2, shift2 = x[n, c, start:end], shift_c[c], x[n, d, start:end], shift_c[d]
        weight = number(1) if c < d else number(0.5)  # an odd one, last, is its own partner
        for k in range(len(each)):
            linear, square, logit = weight * linear_kc[k, c], weight * square_kc[k, c], resp_kt[k]
            linear2, square2 = weight * linear_kc[k, d], weight * square_kc[k, d]
            for p in range(len(row)):
                value, value2 = widen(row[p]) - shift, widen(row2[p]) - shift2
                logit[p] += value * (value * square + linear) + value2 * (value2 * square2 + linear2)
    posteriors(resp_kt, constant_k, end - start)


@compiled
def _load(resp, n, start, end, resp_kt, each):
    """Put the posteriors of these positions next to each other."""
    for k in range(len(each)):
        kept, share = resp[n, k, start:end], resp_kt[k]
        for p in range(len(kept)):
            share[p] = kept[p]


@compiled
def assign(
    first, last, parts, x, shift_c, linear_kc, square_kc, constant_k, resp, mass_ik, first_ikc, second_ikc, each
):
    """Posteriors `resp` (N, K, P); each part's sums of them, and of their products with x - shift and its square."""
    zero = shift_c.dtype.type(0)
    resp_kt = np.empty((len(each), TILE), shift_c.dtype)
    for i in range(first, last):
        n0, n1, p0, p1 = parts[i]
        mass_ik[i], first_ikc[i], second_ikc[i] = 0, 0, 0
        for n in range(n0, n1):
            for t in range(p0, p1, TILE):
                end = min(t + TILE, p1)
                _posteriors(x, n, t, end, shift_c, linear_kc, square_kc, constant_k, resp_kt, each)
                for k in range(len(each)):
                    share, kept, mass = resp_kt[k], resp[n, k, t:end], zero
                    for p in range(len(kept)):
                        kept[p] = share[p]
                        mass += share[p]
                    mass_ik[i, k] += mass
                for c in range(x.shape[1]):
                    row, shift = x[n, c, t:end], shift_c[c]
                    for k in range(len(each)):
                        share, one, two = resp_kt[k], zero, zero
                        for p in range(len(row)):
                            value = widen(row[p]) - shift
                            product = share[p] * value
                            one += product
                            two += product * value
                        first_ikc[i, k, c] += one
                        second_ikc[i, k, c] += two


@compiled
def _combine(x, n, start, end, shift_c, scale_kc, offset_kc, resp_kt, y, each):
    """`y = sum_k resp_k (scale_k (x - shift) + offset_k)` at these positions."""
    zero = shift_c.dtype.type(0)
    for c in range(x.shape[1]):
        row, out, shift = x[n, c, start:end], y[n, c, start:end], shift_c[c]
        for p in range(len(row)):
            scale, offset = zero, zero
            for k in range(len(each)):
                scale += resp_kt[k, p] * scale_kc[k, c]
                offset += resp_kt[k, p] * offset_kc[k, c]
            out[p] = narrow(scale * (widen(row[p]) - shift) + offset, out)


@compiled
def transform(first, last, parts, x, resp, shift_c, scale_kc, offset_kc, y, each):
    """`y = sum_k resp_k (scale_k (x - shift) + offset_k)`."""
    resp_kt = np.empty((len(each), TILE), shift_c.dtype)
    for i in range(first, last):
        n0, n1, p0, p1 = parts[i]
        for n in range(n0, n1):
            for t in range(p0, p1, TILE):
                end = min(t + TILE, p1)
                _load(resp, n, t, end, resp_kt, each)
                _combine(x, n, t, end, shift_c, scale_kc, offset_kc, resp_kt, y, each)


@compiled
def evaluate(first, last, parts, x, shift_c, linear_kc, square_kc, constant_k, scale_kc, offset_kc, y, each):
    """The same with the posteriors p(k | x), which are not kept."""
    resp_kt = np.empty((len(each), TILE), shift_c.dtype)
    for i in range(first, last):
        n0, n1, p0, p1 = parts[i]
        for n in range(n0, n1):
            for t in range(p0, p1, TILE):
                end = min(t + TILE, p1)
                _posteriors(x, n, t, end, shift_c, linear_kc, square_kc, constant_k, resp_kt, each)
                _combine(x, n, t, end, shift_c, scale_kc, offset_kc, resp_kt, y, each)


@compiled
def reduce(first, last, parts, x, grad, resp, shift_c, grad_ikc, product_ikc, each):
    """Each part's sums of `resp * grad` and of `resp * grad * (x - shift)`."""
    zero = shift_c.dtype.type(0)
    for i in range(first, last):
        n0, n1, p0, p1 = parts[i]
        grad_ikc[i], product_ikc[i] = 0, 0
        for n in range(n0, n1):
            for t in range(p0, p1, TILE):
                end = min(t + TILE, p1)
                for c in range(x.shape[1]):
                    row, upstream, shift = x[n, c, t:end], grad[n, c, t:end], shift_c[c]
                    for k in range(len(each)):
                        share, one, two = resp[n, k, t:end], zero, zero
                        for p in range(len(row)):
                            product = share[p] * widen(upstream[p])
                            one += product
                            two += product * (widen(row[p]) - shift)
                        grad_ikc[i, k, c] += one
                        product_ikc[i, k, c] += two


@compiled
def gradient(first, last, parts, x, grad, resp, scale_kc, slope_kc, level_kc, out, each):
    """`out = sum_k resp_k (scale_k grad + slope_k x + level_k)`."""
    zero = scale_kc.dtype.type(0)
    resp_kt = np.empty((len(each), TILE), scale_kc.dtype)
    for i in range(first, last):
        n0, n1, p0, p1 = parts[i]
        for n in range(n0, n1):
            for t in range(p0, p1, TILE):
                end = min(t + TILE, p1)
                _load(resp, n, t, end, resp_kt, each)
                for c in range(x.shape[1]):
                    row, upstream, result = x[n, c, t:end], grad[n, c, t:end], out[n, c, t:end]
                    for p in range(len(row)):
                        scale, slope, level = zero, zero, zero
                        for k in range(len(each)):
                            scale += resp_kt[k, p] * scale_kc[k, c]
                            slope += resp_kt[k, p] * slope_kc[k, c]
                            level += resp_kt[k, p] * level_kc[k, c]
                        result[p] = narrow(scale * widen(upstream[p]) + slope * widen(row[p]) + level, result)
