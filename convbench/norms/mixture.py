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
from convbench.norms.contract import NORMS, Norm
from convbench.norms.gaussian_mixture import Mixture, fit_mixture
from convbench.norms.mixture_transform import (
    BatchMoments,
    MixtureTransform,
    batch_moments,
    normalize,
    posteriors,
)
from convbench.norms.position_layout import Layout, layout_of


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
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        counts = {"num_features": num_features, "components": components, "fit_rows": fit_rows}
        for name, value in {**counts, "restarts": restarts, "refit_every": refit_every}.items():
            _require(value >= 1, name, "at least 1", value)
        for name, value in {"lloyd": lloyd, "em_steps": em_steps, "kappa": kappa, "seed": seed}.items():
            _require(value >= 0, name, "at least 0", value)
        _require(scale in ("fisher", "none"), "scale", "'fisher' or 'none'", scale)
        _require(eps > 0, "eps", "positive", eps)
        _require(momentum is None or 0 <= momentum <= 1, "momentum", "in [0, 1]", momentum)
        _require(0 <= dead < 1, "dead", "in [0, 1)", dead)
        _require(min_weight is None or 0 < min_weight <= 1, "min_weight", "in (0, 1]", min_weight)
        self.num_features, self.components, self.eps, self.momentum = num_features, components, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.kappa, self.scale, self.seed = kappa, scale, seed
        self.min_weight = 0.1 / components if min_weight is None else min_weight
        self.fit_rows, self.lloyd, self.em_steps, self.restarts = fit_rows, lloyd, em_steps, restarts
        self.dead, self.refit_every = dead, refit_every

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
        if use_batch and x.numel() <= self.num_features:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {x.shape}")
        # Statistics in bfloat16 would be off by their own size.
        with torch.autocast(x.device.type, enabled=False):
            if self.components == 1:
                return self._normalize_as_one_gaussian(x, use_batch)
            return self._normalize_by_batch(x) if use_batch else self._normalize_by_running(x)

    def _normalize_as_one_gaussian(self, x: Tensor, use_batch: bool) -> Tensor:
        mean, var, factor = self.running_mean, self.running_var, self._count_batch()
        if use_batch and not self.training:
            mean = var = None
        return F.batch_norm(x, mean, var, self.weight, self.bias, use_batch, factor, self.eps)

    def _normalize_by_batch(self, x: Tensor) -> Tensor:
        layout = layout_of(x)
        with torch.no_grad():
            step = 0 if self.num_batches_tracked is None else int(self.num_batches_tracked)
            factor = self._count_batch()
            mean_c, var_c = self._batch_statistics(x, factor)
            std_c = (var_c + self.eps).sqrt()
            xs = layout.view(x) - layout.per_channel(mean_c)
            mixture = self._running_mixture(xs.dtype)
            if mixture is None or step == 0 or self._has_died(mixture, step):
                mixture = self._fit(layout, xs, std_c, step)
            square = xs.square()
            resp = posteriors(layout, xs, square, mixture, std_c)
            moments = batch_moments(layout, resp, xs, square, var_c, self.kappa)
            share_k = moments.mass_k / moments.mass_k.sum()
            if self.training and self.track_running_stats:
                self._update_mixture(mixture, share_k, moments, std_c, factor)
            gain_k = self._gain(share_k)
        gamma_c, beta_c = self._gamma_beta(xs)
        constants = (mean_c, moments, gain_k, self.eps, self.kappa, layout)
        return MixtureTransform.apply(x, gamma_c, beta_c, xs, resp, *constants)

    def _normalize_by_running(self, x: Tensor) -> Tensor:
        layout, dtype = layout_of(x), _compute_dtype(x)
        mixture = self._running_mixture(dtype)
        assert mixture is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        std_c = (self.running_var.to(dtype) + self.eps).sqrt()
        xs = layout.view(x) - layout.per_channel(self.running_mean.to(dtype))
        resp = posteriors(layout, xs, xs.square(), mixture, std_c)
        gamma_c, beta_c = self._gamma_beta(xs)
        var_kc = mixture.var_kc * std_c.square() + self.eps
        scale_kc = self._gain(mixture.weight_k)[:, None] * var_kc.rsqrt() * gamma_c
        y = normalize(layout, xs, resp, mixture.mean_kc * std_c, scale_kc, beta_c)
        return layout.restore(y, x).to(x.dtype)

    def _count_batch(self) -> float:
        """Count this batch; the weight of its statistics in the running ones, as in `nn.BatchNorm2d`."""
        if not self.training or self.num_batches_tracked is None:
            return 0.0
        self.num_batches_tracked.add_(1)
        return 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum

    def _batch_statistics(self, x: Tensor, factor: float) -> tuple[Tensor, Tensor]:
        """Mean and biased variance of the batch; updates the running ones exactly as `nn.BatchNorm2d` does."""
        dtype = _compute_dtype(x)
        mean, var = self.running_mean, self.running_var
        if mean is None or var is None or not self.training:
            mean, var = torch.zeros(2, self.num_features, dtype=dtype, device=x.device)
        mean_c, var_c = torch.batch_norm_update_stats(x, mean, var, factor)
        return mean_c.to(dtype), var_c.to(dtype)

    def _running_mixture(self, dtype: torch.dtype) -> Mixture | None:
        if self.comp_weight is None or self.comp_mean is None or self.comp_var is None:
            return None
        return Mixture(self.comp_weight.to(dtype), self.comp_mean.to(dtype), self.comp_var.to(dtype))

    def _has_died(self, mixture: Mixture, step: int) -> bool:
        """Whether a component lost its mass; looked at now and then, so that a hopeless one costs little."""
        return self.training and step % self.refit_every == 0 and bool(mixture.weight_k.min() < self.dead)

    def _fit(self, layout: Layout, xs: Tensor, std_c: Tensor, step: int) -> Mixture:
        # The generator's state follows from what a checkpoint holds, so that a resumed training draws the same.
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + step)
        positions = xs.numel() // self.num_features
        index = torch.randperm(positions, generator=generator)[: self.fit_rows]
        rows_mc = (layout.rows(xs, index.to(xs.device)) / std_c).cpu()
        effort = {"restarts": self.restarts, "lloyd": self.lloyd, "em_steps": self.em_steps}
        mixture = fit_mixture(rows_mc, self.components, generator=generator, kappa=self.kappa, **effort)
        return Mixture(*(part.to(xs.device) for part in mixture))

    def _update_mixture(
        self, old: Mixture, share_k: Tensor, moments: BatchMoments, std_c: Tensor, factor: float
    ) -> None:
        batch = Mixture(share_k, moments.mean_kc / std_c, moments.var_kc / std_c.square())
        new = old.moved_towards(batch, factor)
        for buffer, value in zip((self.comp_weight, self.comp_mean, self.comp_var), new, strict=True):
            assert buffer is not None
            buffer.copy_(value)

    def _gain(self, share_k: Tensor) -> Tensor:
        if self.scale == "none":
            return torch.ones_like(share_k)
        return share_k.clamp_min(self.min_weight).rsqrt()

    def _gamma_beta(self, xs: Tensor) -> tuple[Tensor, Tensor]:
        if self.weight is None or self.bias is None:
            return xs.new_ones(()), xs.new_zeros(())
        return self.weight.to(xs.dtype), self.bias.to(xs.dtype)


def _require(holds: bool, name: str, rule: str, value: object) -> None:
    if not holds:
        raise ValueError(f"{name} must be {rule}, got {value!r}")


def _compute_dtype(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


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
) -> Norm:
    """Mixture normalization of the convolution's output: each mode of the batch by its own mean and variance."""
    numbers = {"components": components, "momentum": momentum, "eps": eps, "kappa": kappa, "dead": dead}
    build = partial(MixtureNorm2d, scale=scale, seed=seed, **numbers)
    try:
        build(1)
    except ValueError as error:
        raise ConfigError(f"norm 'mixture': {error}.") from None
    return Norm(on_output=build)
