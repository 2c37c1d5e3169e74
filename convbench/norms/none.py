"""No normalization: the bare convolution, with a bias."""

from convbench.norms.contract import NORMS, Norm


@NORMS.register("none")
def none() -> Norm:
    """No normalization; convolutions have a bias."""
    return Norm(has_shift=False)
