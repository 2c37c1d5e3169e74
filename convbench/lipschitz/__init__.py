"""Bounds of a whole network's Lipschitz constant: L2, of the logits, over images in [0, 1], in evaluation mode."""

from convbench.lipschitz.jacobian import LocalJacobian, lipschitz_lower_jacobian
from convbench.lipschitz.product import lipschitz_upper_product

__all__ = ["LocalJacobian", "lipschitz_lower_jacobian", "lipschitz_upper_product"]
