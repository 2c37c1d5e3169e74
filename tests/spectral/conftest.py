"""The ground truth of all spectral tests: the operator written down by applying the module to the identity."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn


@pytest.fixture
def dense_norm() -> Callable[[nn.Module, tuple[int, ...]], float]:
    """The largest singular value of an affine module's matrix, by a full SVD in float64."""

    def norm(module: nn.Module, input_shape: tuple[int, ...]) -> float:
        module = copy.deepcopy(module).double().eval()
        size = math.prod(input_shape)
        with torch.no_grad():
            basis = torch.eye(size, dtype=torch.float64).view(size, *input_shape)
            matrix = (module(basis) - module(torch.zeros_like(basis[:1]))).flatten(1)
        if size > 2000:  # a full SVD would take a quarter of a minute
            return math.sqrt(float(torch.linalg.eigvalsh(matrix.T @ matrix)[-1]))
        return float(torch.linalg.svdvals(matrix)[0])

    return norm


@pytest.fixture(autouse=True)
def seed() -> None:
    """Weights are drawn from the global generator."""
    torch.manual_seed(0)
