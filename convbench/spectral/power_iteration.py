"""Block power iteration: a layer's norm from below, from vectors that are kept between calls.

Gouk et al. 2021, arXiv:1804.04368, and Ryu et al. 2019, arXiv:1905.05406, apply the convolution and its adjoint in
turns to one vector. A block with a Rayleigh-Ritz step per round doesn't stop between two near singular values. While a
network trains, its layers change little per epoch: the vectors of the epoch before need only a few rounds.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from convbench.spectral.linear_operator import Operator, near_one

BLOCK = 4
_SEED = 0


@dataclass(frozen=True)
class PowerIteration:
    """A lower bound of an operator's norm, and the vectors to start from next time.

    Args:
        value: ||A v|| of the best unit vector v found.
        vectors: orthonormal, best first, `(block, *input_shape)`.
        rounds: how often A^T A was applied to the block.
        converged: whether the value stood still to the tolerance.
    """

    value: float
    vectors: Tensor
    rounds: int
    converged: bool


@torch.no_grad()
def power_iteration(
    operator: Operator,
    start: Tensor | None = None,
    *,
    tol: float = 1e-6,
    max_rounds: int = 1000,
    block: int = BLOCK,
) -> PowerIteration:
    """||A||_2 from below, by subspace iteration with A^T A.

    Args:
        operator: A with its adjoint.
        start: vectors from an earlier call, `(block, *input_shape)`; else Gaussian from a private generator.
        tol: the iteration stops when two rounds raised the value by less than a tenth of this, relatively. Slow
            convergence looks the same: the value is a lower bound, not an error bound.
        max_rounds: a bound on the work.
        block: number of vectors where none are given.

    Raises:
        ValueError: `start` doesn't fit the operator.
    """
    shape = tuple(operator.input_shape)
    if start is None:
        generator = torch.Generator().manual_seed(_SEED)
        start = torch.randn(min(block, operator.input_dim), *shape, generator=generator, dtype=torch.float64)
    elif tuple(start.shape[1:]) != shape or len(start) == 0:
        raise ValueError(f"start vectors have shape {tuple(start.shape)}; the operator takes inputs of shape {shape}")
    operator, factor = near_one(operator)
    v = torch.linalg.qr(start.double().flatten(1).T)[0].T
    values: list[float] = []
    for done in range(1, max_rounds + 1):
        image = operator.forward(v.reshape(-1, *shape)).double().flatten(1)
        squares, turn = torch.linalg.eigh(image @ image.T)
        turn = turn.flip(1)
        v, image = turn.T @ v, turn.T @ image  # Ritz vectors, best first
        values.append(max(float(squares[-1]), 0.0) ** 0.5)
        if values[-1] == 0.0 or (done > 2 and values[-1] - values[-3] <= 0.1 * tol * values[-1]):
            return PowerIteration(values[-1] / factor, v.view(-1, *shape), done, converged=True)
        if done < max_rounds:
            back = operator.adjoint(image.reshape(-1, *operator.output_shape)).double().flatten(1)
            v = torch.linalg.qr(back.T)[0].T
    return PowerIteration(values[-1] / factor, v.view(-1, *shape), max_rounds, converged=False)
