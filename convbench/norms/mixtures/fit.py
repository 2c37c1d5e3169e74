"""A mixture fitted to a batch: which positions are looked at, on which scale, and how hard."""

from typing import NamedTuple

import torch
from torch import Tensor

from convbench.norms.mixtures.gaussian_mixture import Mixture, fit_mixture
from convbench.norms.mixtures.position_layout import layout_of
from convbench.norms.process_sums import Total, places_of


class FitEffort(NamedTuple):
    """Rows to draw, and the options of `fit_mixture`."""

    rows: int
    restarts: int
    lloyd: int
    em_steps: int
    kappa: float


def fit_to_batch(
    x: Tensor,
    mean_c: Tensor,
    std_c: Tensor,
    components: int,
    effort: FitEffort,
    generator: torch.Generator,
    total: Total,
) -> Mixture:
    """The mixture of `effort.rows` channel vectors of `x`, drawn without replacement, standardized per channel.

    They are drawn from the batches of all processes that `total` counts, each of which fits the same mixture.
    """
    own, layout = x.numel() // x.shape[1], layout_of(x)
    first, positions = places_of(own, total, x.device)
    index = torch.randperm(positions, generator=generator)[: effort.rows].to(x.device) - first
    here = (index >= 0) & (index < own)
    rows_mc = torch.zeros(len(index), x.shape[1], dtype=mean_c.dtype, device=x.device)
    rows_mc[here] = (layout.rows(layout.view(x), index[here]) - mean_c) / std_c
    (rows_mc,) = total(rows_mc)
    options = {"restarts": effort.restarts, "lloyd": effort.lloyd, "em_steps": effort.em_steps, "kappa": effort.kappa}
    mixture = fit_mixture(rows_mc.cpu(), components, generator=generator, **options)
    return Mixture(*(part.to(x.device) for part in mixture))
