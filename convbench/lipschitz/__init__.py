"""Bounds of a whole network's Lipschitz constant: L2, of the logits, over images in [0, 1], in evaluation mode."""

from convbench.lipschitz.ascent import SteepestImage, lipschitz_lower_ascent
from convbench.lipschitz.averaged import lipschitz_upper_averaged
from convbench.lipschitz.clever import Clever, clever_scores
from convbench.lipschitz.jacobian import LocalJacobian, lipschitz_lower_jacobian
from convbench.lipschitz.local_norms import local_jacobian_norms
from convbench.lipschitz.margin_gradients import MarginGradients, margin_gradients
from convbench.lipschitz.mixture_bound import mixture_slope_bound
from convbench.lipschitz.pair_ratios import SteepestPair, lipschitz_lower_pairs
from convbench.lipschitz.product import lipschitz_upper_product
from convbench.lipschitz.radius import certified_accuracy, certified_radii

__all__ = [
    "Clever",
    "LocalJacobian",
    "MarginGradients",
    "SteepestImage",
    "SteepestPair",
    "certified_accuracy",
    "certified_radii",
    "clever_scores",
    "lipschitz_lower_ascent",
    "lipschitz_lower_jacobian",
    "lipschitz_lower_pairs",
    "lipschitz_upper_averaged",
    "lipschitz_upper_product",
    "local_jacobian_norms",
    "margin_gradients",
    "mixture_slope_bound",
]
