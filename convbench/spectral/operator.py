"""A layer as the linear operator that it is at one input size, in float64, with its exact adjoint.

The adjoint of x -> f(x) - f(0) is the vector-Jacobian product of f. For a convolution that is the transposed
convolution with the right output padding; for any other affine module (batch normalization at evaluation, ConvNorm)
it needs no formula of its own.
"""

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from convbench.errors import MetricNotDefinedError
from convbench.norms.convnorm import ConvNorm2d
from convbench.norms.mixture import MixtureNorm2d
from convbench.norms.mode import ModeNorm2d
from convbench.spectral.linear_operator import Operator, power_of_two
from convbench.spectral.stages import is_batch_norm, is_convolution, parts_of

_AFFINITY_TOLERANCE = 1e-8  # of float64 arithmetic through an FFT; a nonlinear module is off by 1e-2 or more
_SEED = 0
_CHUNK_BYTES = 32 * 2**20


class LinearMap(Operator):
    """The linear part A of an affine module f(x) = A x + f(0), as a function and its adjoint.

    `module` is its copy in float64, on the CPU, in evaluation mode.

    Args:
        module: affine in evaluation mode; it is copied, never changed.
        input_shape: shape of one input without the batch axis, `(C, H, W)` or `(features,)`.

    Raises:
        MetricNotDefinedError: the module isn't affine in evaluation mode.
        ValueError: a weight or buffer is NaN or infinite, or the input doesn't fit the module.
    """

    def __init__(self, module: nn.Module, input_shape: tuple[int, ...]) -> None:
        check_finite(module)
        self.module = copy.deepcopy(module).to(device="cpu", dtype=torch.float64).eval().requires_grad_(False)
        _fix_parametrized_weights(self.module)
        if all(map(_is_shifted_linear, parts_of(self.module))):
            _remove_shifts(self.module)
        self.input_shape = input_shape
        try:
            with torch.no_grad():
                self._offset = self.module(torch.zeros(1, *input_shape, dtype=torch.float64))
        except RuntimeError as error:
            raise ValueError(
                f"{type(module).__name__} can't be applied to an input of shape {input_shape}: {error}"
            ) from None
        self.output_shape = tuple(self._offset.shape[1:])
        self._is_shifted = bool(self._offset.any())
        self._check_affine(_described(module))
        self._graphs: dict[int, tuple[Tensor, Tensor]] = {}

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """A x for a batch of inputs: `(N, *input_shape)` -> `(N, *output_shape)`."""
        if not self._is_shifted:
            return self.module(x)
        norm = x.flatten(1).norm(dim=1).view(-1, *(1 for _ in self.input_shape))
        norm = torch.where(norm > 0, norm, 1.0)  # a short x would drown in the offset
        return (self.module(x / norm) - self._offset) * norm.view(-1, *(1 for _ in self.output_shape))

    @torch.no_grad()
    def _linear_part(self, x: Tensor) -> Tensor:
        return self.module(x) - self._offset

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y for a batch of outputs: `(N, *output_shape)` -> `(N, *input_shape)`."""
        if len(y) not in self._graphs:  # an iteration applies the same graph many times
            self._graphs = {len(y): self._record(len(y))}
        x, fx = self._graphs[len(y)]
        return torch.autograd.grad(fx, x, y, retain_graph=True)[0]

    def magnitude(self) -> float:
        """The largest entry of A g, of one Gaussian vector g."""
        return self._magnitude

    def _record(self, batch: int) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = torch.zeros(batch, *self.input_shape, dtype=torch.float64, requires_grad=True)
            return x, self.module(x)

    def _check_affine(self, name: str) -> None:
        # In high dimension random inputs may all fall to one component of a mixture, which looks affine then.
        if any(map(_has_several_modes, self.module.modules())):
            raise MetricNotDefinedError(f"{name} isn't affine in evaluation mode, so it has no single spectral norm")
        # Homogeneity alone, f(2x) - 2 f(x) + f(0) = 0, also holds for ReLU: additivity and the adjoint don't.
        generator = torch.Generator().manual_seed(_SEED)
        x, y = torch.randn(2, 1, *self.input_shape, generator=generator, dtype=torch.float64)
        z = torch.randn(1, *self.output_shape, generator=generator, dtype=torch.float64)
        for scale in (0.01, 1.0, 100.0):
            # The module itself, not `forward`: that looks at short inputs only, where a ReLU behind a bias is affine.
            ax, ay, total = (self._linear_part(scale * v) for v in (x, y, x + y))
            if torch.isinf(total).any():
                raise ValueError(f"{name} overflows float64: an output of a Gaussian input is infinite")
            size = _norm(ax) + _norm(ay) + _norm(self._offset)
            if not _norm(total - ax - ay) <= _AFFINITY_TOLERANCE * size:
                raise MetricNotDefinedError(
                    f"{name} isn't affine in evaluation mode, so it has no single spectral norm"
                )
            if scale == 1.0:
                self._magnitude = _largest(ax)
        start, fx = self._record(1)
        if not fx.requires_grad:
            raise MetricNotDefinedError(f"{name} doesn't pass gradients to its input, so its adjoint is unknown")
        back = torch.autograd.grad(fx, start, z)[0]
        forward = self.forward(x)
        gap = (forward * z).sum() - (x * back).sum()
        if not gap.abs() <= _AFFINITY_TOLERANCE * (_norm(forward) * _norm(z) + _norm(x) * _norm(back)):
            raise MetricNotDefinedError(f"the gradient of {name} isn't its derivative, so its adjoint is unknown")


def _largest(v: Tensor) -> float:
    return float(v.abs().max()) if v.numel() else 0.0


def _norm(v: Tensor) -> float:
    """||v||_2, also where the squares of its entries would overflow or vanish."""
    factor = power_of_two(_largest(v))
    return float((v * factor).norm()) / factor


@torch.no_grad()
def matrix_of(operator: Operator) -> Tensor:
    """A written down as a float64 matrix `(outputs, inputs)`, by applying it to the identity."""
    inputs = operator.input_dim
    columns = []
    for part in torch.arange(inputs).split(max(1, _CHUNK_BYTES // (8 * inputs))):
        basis = torch.zeros(len(part), inputs, dtype=torch.float64)
        basis[torch.arange(len(part)), part] = 1
        columns.append(operator.forward(basis.view(-1, *operator.input_shape)).flatten(1))
    return torch.cat(columns).T


def full_input_shape(layer: nn.Module, input_size: tuple[int, ...]) -> tuple[int, ...]:
    """(C, H, W) of a layer's input, of which (H, W) or all is given; (features,) as it is.

    Raises:
        ValueError: the layer doesn't tell its channels, and they aren't given.
    """
    if len(input_size) != 2:
        return tuple(input_size)
    for module in layer.modules():
        for name in ("in_channels", "num_features"):
            if isinstance(getattr(module, name, None), int):
                return (getattr(module, name), *input_size)
    raise ValueError(f"{type(layer).__name__} doesn't tell its input channels; give the input size as (C, H, W)")


def _has_several_modes(module: nn.Module) -> bool:
    if isinstance(module, ModeNorm2d):
        return module.modes > 1
    return isinstance(module, MixtureNorm2d) and module.components > 1


def _fix_parametrized_weights(module: nn.Module) -> None:
    """A parametrized weight is computed anew at every use: a constant here, it is computed once."""
    for part in list(module.modules()):
        if parametrize.is_parametrized(part):
            kinds = cast(nn.ModuleDict, part.parametrizations)
            weights = {name: cast(Tensor, getattr(part, name)).detach() for name in kinds}
            # torch's own removal edits the class, which a copy shares with the layer that it was made from
            part.__class__ = type(part).__bases__[0]
            del part.parametrizations
            for name, weight in weights.items():
                part.register_parameter(name, nn.Parameter(weight, requires_grad=False))


def _is_shifted_linear(module: nn.Module) -> bool:
    """Whether all biases and running means of `module` only shift its output."""
    return is_convolution(module) or is_batch_norm(module) or isinstance(module, nn.Linear | ConvNorm2d)


@torch.no_grad()
def _remove_shifts(module: nn.Module) -> None:
    """f(x) - f(0) would lose the digits that a large f(0) takes."""
    for part in module.modules():
        for shift in (getattr(part, "bias", None), getattr(part, "running_mean", None)):
            if isinstance(shift, Tensor):
                shift.zero_()


def _described(module: nn.Module) -> str:
    """The classes that do the work: those of the members of a sequence."""
    if isinstance(module, nn.Sequential) and len(module) > 0:
        return " + ".join(_described(part) for part in module)
    return type(module).__name__


def check_finite(module: nn.Module) -> None:
    """Raise a `ValueError` that names the first parameter or buffer of `module` with a NaN or an infinity."""
    for kind, tensors in (("parameter", module.named_parameters()), ("buffer", module.named_buffers())):
        for name, tensor in tensors:
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                count = int((~torch.isfinite(tensor)).sum())
                raise ValueError(
                    f"{type(module).__name__}: {kind} '{name}' has {count} NaN or infinite values of {tensor.numel()}"
                )
