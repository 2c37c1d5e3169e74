"""The largest singular value of an operator from below, by Golub-Kahan-Lanczos bidiagonalization.

Golub & Kahan 1965; without reorthogonalization, whose absence repeats converged values (ghosts) and leaves the largest
Ritz value right (Paige 1980). Every Ritz value is a lower bound of the norm.
"""

import numpy as np
import torch
from scipy.linalg import eigvalsh_tridiagonal

from convbench.spectral.operator import Operator

_SEED = 0
_FIRST_CHECK = 30
_CHECK_EVERY = 5
_BREAKDOWN = 1e-13  # relative to the norm so far: the Krylov space is exhausted, the Ritz value is exact


def golub_kahan_norm(operator: Operator, tol: float = 1e-6, max_steps: int = 3000) -> tuple[float, bool]:
    """The norm ||A||_2 from below, to the relative tolerance `tol`.

    A v_i = alpha_i u_i + beta_{i-1} u_{i-1}; the value is the norm of the bidiagonal matrix (alpha, beta). The start is
    a Gaussian vector from a private generator, so that equal operators give equal values.

    Args:
        operator: the operator with its adjoint.
        tol: the iteration stops when the value grew by less than 3 % of this over the last quarter of the
            steps, at least 20. Where the leading values cluster, the remaining error is of the order of that growth.
        max_steps: a bound on the work; each step applies the operator and its adjoint once.

    Returns:
        The value, and whether the tolerance was met.
    """
    generator = torch.Generator().manual_seed(_SEED)
    v = torch.randn(1, *operator.input_shape, generator=generator, dtype=torch.float64)
    v /= v.norm()
    u = operator.forward(v)
    alpha = float(u.norm())
    if alpha == 0.0:  # a random vector is in the kernel of the zero operator only
        return 0.0, True
    u /= alpha
    alphas, betas = [alpha], []
    history: dict[int, float] = {}
    for step in range(1, max_steps + 1):
        w = operator.adjoint(u) - alpha * v
        beta = float(w.norm())
        exhausted = beta <= _BREAKDOWN * max(alphas)
        if not exhausted:
            v = w.div_(beta)
            u = operator.forward(v).sub_(u, alpha=beta)
            alpha = float(u.norm())
            exhausted = alpha <= _BREAKDOWN * max(alphas)
            betas.append(beta)
            alphas.append(alpha)
            if not exhausted:
                u /= alpha
        if exhausted:
            return _bidiagonal_norm(alphas, betas), True
        if step >= _FIRST_CHECK - 20 and step % _CHECK_EVERY == 0:
            history[step] = _bidiagonal_norm(alphas, betas)
            window = max(20, step // 4 // _CHECK_EVERY * _CHECK_EVERY)
            if step >= _FIRST_CHECK and history[step] - history[step - window] <= 0.03 * tol * history[step]:
                return history[step], True
    return _bidiagonal_norm(alphas, betas), False


def _bidiagonal_norm(alphas: list[float], betas: list[float]) -> float:
    """Norm of the upper bidiagonal matrix with diagonal `alphas` and superdiagonal `betas`."""
    a, b = np.array(alphas), np.array(betas)
    scale = max(a.max(), b.max(initial=0.0))
    a, b = a / scale, b / scale  # so that squares neither overflow nor vanish
    diagonal = a**2
    diagonal[1:] += b**2
    # 'sterf' (QR without vectors): bisection ('stebz') fails on these matrices
    return float(scale * np.sqrt(eigvalsh_tridiagonal(diagonal, a[:-1] * b, lapack_driver="sterf")[-1]))
