"""Mixture normalization: a batch is normalized per mode of its distribution instead of as one Gaussian.

Kalayeh & Shah, "Training Faster by Separating Modes of Variation in Batch-normalized Models", TPAMI 2019,
https://arxiv.org/abs/1806.02892. The authors published no code, and the paper leaves the online estimation open:
this is a reconstruction. Ours are the warm-started EM in standardized units, the smoothing of empty components, the
refit of components that died, the floor under the mixture weights, and that no gradient flows through posteriors.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convbench.errors import ConfigError
from convbench.norms.channel_moments import channel_moments
from convbench.norms.contract import NORMS, Norm
from convbench.norms.mixtures.batch_passes import passes_of
from convbench.norms.mixtures.evaluation import normalize_by_mixture
from convbench.norms.mixtures.fit import FitEffort, fit_to_batch
from convbench.norms.mixtures.gaussian_mixture import Mixture
from convbench.norms.mixtures.transform import MixtureTransform, assign
from convbench.norms.process_sums import Total, of_this_process, total_of
from convbench.norms.synchronized import synchronized_batch_norm


class MixtureNorm2d(nn.Module):
    """Normalize each channel vector by the mode of a Gaussian mixture that it belongs to.

        y_i = gamma * sum_k r_ik / sqrt(lam_k) * (x_i - mean_k) / sqrt(var_k + eps) + beta

    where r_ik is the posterior of component k of a mixture with diagonal covariances over channel vectors, shared by
    all channels of a position, and lam_k, mean_k, var_k are the components' share, mean and variance.

    - In training the mixture that assigns r_ik is the running one, in units standardized by the batch; mean_k and
      var_k are the batch's, weighted by r_ik, and carry gradient. The first batch, and every `refit_every`-th one that
      finds a component with a share under `dead`, fits the mixture anew to `fit_rows` rows by k-means++ and EM.
    - In eval everything comes from buffers, so that images do not influence each other. It is differentiable through
      the posteriors; it is not affine, and cannot be folded into a convolution.
    - With one component this is `nn.BatchNorm2d`, bit for bit.
    - With `scale="fisher"`, as published, y has variance K where the modes are apart; `scale="none"` drops
      1/sqrt(lam_k) and has variance 1.

    The mixture, running mean and variance are buffers, and random draws depend on `seed` and the number of batches
    only: training that goes on from a saved state continues bit for bit. The global generator is not used.

    Args:
        num_features, eps, momentum, affine, track_running_stats: as in `nn.BatchNorm2d`.
        components: number of modes K.
        kappa: weight, in positions, with which all positions of the batch join each component's moments.
        min_weight: lam_k below it are raised to it in 1/sqrt(lam_k), by default 0.1 / K.
        scale: "fisher" (as published) or "none".
        fit_rows, lloyd, em_steps, restarts: the effort of a fit.
        dead, refit_every: when a fit is repeated; `dead=0` for never.
        seed: of the draws in a fit.
        sync: whether statistics, fits and gradients are those of the batches of all processes together.

    Shape:
        `(N, C, H, W)` -> `(N, C, H, W)`, in the memory format and the type of the input.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    comp_weight: Tensor | None
    comp_mean: Tensor | None
    comp_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        components: int = 3,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        kappa: float = 0.01,
        min_weight: float | None = None,
        scale: str = "fisher",
        fit_rows: int = 2048,
        lloyd: int = 3,
        em_steps: int = 5,
        restarts: int = 3,
        dead: float = 0.02,
        refit_every: int = 16,
        seed: int = 0,
        sync: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        counts = {"num_features": num_features, "components": components, "fit_rows": fit_rows}
        for name, value in {**counts, "restarts": restarts, "refit_every": refit_every}.items():
            _require(value >= 1, name, "at least 1", value)
        for name, value in {"lloyd": lloyd, "em_steps": em_steps, "kappa": kappa, "seed": seed}.items():
            _require(0 <= value < float("inf"), name, "at least 0 and finite", value)
        _require(components <= fit_rows, "components", f"at most fit_rows = {fit_rows}", components)
        _require(scale in ("fisher", "none"), "scale", "'fisher' or 'none'", scale)
        _require(0 < eps < float("inf"), "eps", "positive and finite", eps)
        _require(momentum is None or 0 <= momentum <= 1, "momentum", "in [0, 1]", momentum)
        _require(0 <= dead < 1, "dead", "in [0, 1)", dead)
        _require(min_weight is None or 0 < min_weight <= 1, "min_weight", "in (0, 1]", min_weight)
        self.num_features, self.components, self.eps, self.momentum = num_features, components, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.kappa, self.scale, self.seed = kappa, scale, seed
        self.min_weight = 0.1 / components if min_weight is None else min_weight
        self.effort = FitEffort(fit_rows, restarts, lloyd, em_steps, kappa)
        self.dead, self.refit_every, self.sync = dead, refit_every, sync

        factory = {"device": device, "dtype": dtype}
        channels, per_component = (num_features,), (components, num_features)
        for name in ("weight", "bias"):
            parameter = nn.Parameter(torch.empty(channels, **factory)) if affine else None
            self.register_parameter(name, parameter)
        buffers = {"running_mean": channels, "running_var": channels, "comp_weight": (components,)}
        for name, shape in {**buffers, "comp_mean": per_component, "comp_var": per_component}.items():
            self.register_buffer(name, torch.empty(shape, **factory) if track_running_stats else None)
        count = torch.zeros((), dtype=torch.long, device=device) if track_running_stats else None
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget the running statistics and the mixture."""
        starts = {"running_mean": 0, "running_var": 1, "comp_weight": 1 / self.components}
        for name, start in {**starts, "comp_mean": 0, "comp_var": 1, "num_batches_tracked": 0}.items():
            buffer = getattr(self, name)
            if buffer is not None:
                buffer.fill_(start)

    def reset_parameters(self) -> None:
        """Forget the statistics; gamma = 1, beta = 0."""
        self.reset_running_stats()
        if self.weight is not None and self.bias is not None:
            nn.init.ones_(self.weight)
            nn.init.zeros_(self.bias)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, components={self.components}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, track_running_stats={self.track_running_stats}, scale={self.scale!r}"
        )

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4:
            raise ValueError(f"expected 4D input (got {x.dim()}D input)")
        if x.shape[1] != self.num_features:
            raise ValueError(f"expected {self.num_features} channels, got {x.shape[1]}")
        use_batch = self.training or not self.track_running_stats
        total = total_of(self.sync and use_batch)
        # Statistics in bfloat16 would be off by their own size.
        with torch.autocast(x.device.type, enabled=False):
            if self.components == 1:
                return self._normalize_as_one_gaussian(x, use_batch, total)
            return self._normalize_by_batch(x, total) if use_batch else self._normalize_by_running(x)

    def _normalize_as_one_gaussian(self, x: Tensor, use_batch: bool, total: Total) -> Tensor:
        factor, unused = self._count_batch(), use_batch and not self.training
        mean, var = (None, None) if unused else (self.running_mean, self.running_var)
        if total is not of_this_process:
            return synchronized_batch_norm(x, mean, var, self.weight, self.bias, factor, self.eps, total)
        return F.batch_norm(x, mean, var, self.weight, self.bias, use_batch, factor, self.eps)

    def _normalize_by_batch(self, x: Tensor, total: Total) -> Tensor:
        passes = passes_of(x)
        with torch.no_grad():
            step = 0 if self.num_batches_tracked is None else int(self.num_batches_tracked)
            moments = channel_moments(x, total)
            std_c = (moments.var_c + self.eps).sqrt()
            mixture = self._running_mixture(std_c.dtype)
            # Looked at now and then, so that a hopeless component costs little.
            look = self.training and step % self.refit_every == 0
            if mixture is None or step == 0 or (look and bool(mixture.weight_k.min() < self.dead)):
                # The generator's state follows from what a checkpoint holds, so that a resumed training draws the same.
                generator = torch.Generator().manual_seed(1_000_003 * self.seed + step)
                mixture = fit_to_batch(x, moments.mean_c, std_c, self.components, self.effort, generator, total)
            batch = assign(x, passes, mixture, moments, std_c, self.kappa, total)
            factor = self._count_batch()
            if self.training and self.running_mean is not None and self.running_var is not None:
                moments.update(self.running_mean, self.running_var, factor)
                new = mixture.moved_towards(batch.mixture(std_c), factor)
                for buffer, value in zip((self.comp_weight, self.comp_mean, self.comp_var), new, strict=True):
                    assert buffer is not None
                    buffer.copy_(value)
            gain_k = self._gain(batch.share_k)
        gamma_c, beta_c = self._gamma_beta(std_c)
        return MixtureTransform.apply(x, gamma_c, beta_c, batch, gain_k, self.eps, self.kappa, passes, total)

    def _normalize_by_running(self, x: Tensor) -> Tensor:
        dtype = torch.promote_types(x.dtype, torch.float32)
        mixture, mean, var = self._running_mixture(dtype), self.running_mean, self.running_var
        assert mixture is not None
        assert mean is not None
        assert var is not None
        std_c = (var.to(dtype) + self.eps).sqrt()
        gamma_c, beta_c = self._gamma_beta(std_c)
        var_kc = mixture.var_kc * std_c.square() + self.eps
        scale_kc = self._gain(mixture.weight_k)[:, None] * var_kc.rsqrt() * gamma_c
        return normalize_by_mixture(x, mixture, mean.to(dtype), std_c, scale_kc, beta_c)

    def _count_batch(self) -> float:
        """Count this batch; the weight of its statistics in the running ones, as in `nn.BatchNorm2d`."""
        if not self.training or self.num_batches_tracked is None:
            return 0.0
        self.num_batches_tracked.add_(1)
        return 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum

    def _running_mixture(self, dtype: torch.dtype) -> Mixture | None:
        if self.comp_weight is None or self.comp_mean is None or self.comp_var is None:
            return None
        return Mixture(self.comp_weight.to(dtype), self.comp_mean.to(dtype), self.comp_var.to(dtype))

    def _gain(self, share_k: Tensor) -> Tensor:
        if self.scale == "none":
            return torch.ones_like(share_k)
        return share_k.clamp_min(self.min_weight).rsqrt()

    def _gamma_beta(self, like: Tensor) -> tuple[Tensor, Tensor]:
        if self.weight is None or self.bias is None:
            return like.new_ones(()), like.new_zeros(())
        return self.weight.to(like.dtype), self.bias.to(like.dtype)


def _require(holds: bool, name: str, rule: str, value: object) -> None:
    if not holds:
        raise ValueError(f"{name} must be {rule}, got {value!r}")


@NORMS.register("mixture", aliases=("mn",), reference="Kalayeh & Shah 2019, arXiv 1806.02892")
def mixture(
    *,
    components: int = 3,
    momentum: float = 0.1,
    eps: float = 1e-5,
    scale: str = "fisher",
    kappa: float = 0.01,
    dead: float = 0.02,
    seed: int = 0,
    sync: bool = False,
) -> Norm:
    """Mixture normalization of the convolution's output: each mode of the batch by its own mean and variance."""
    numbers = {"components": components, "momentum": momentum, "eps": eps, "kappa": kappa, "dead": dead}
    build = partial(MixtureNorm2d, scale=scale, seed=seed, sync=sync, **numbers)
    try:
        build(1)
    except ValueError as error:
        raise ConfigError(f"norm 'mixture': {error}.") from None
    return Norm(on_output=build)
