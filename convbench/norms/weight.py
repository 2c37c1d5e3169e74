"""Weight normalization: length and direction of every output channel's kernel, learned apart.

Salimans & Kingma, "Weight Normalization: A Simple Reparameterization to Accelerate Training of Deep Neural Networks",
NeurIPS 2016, https://arxiv.org/abs/1602.07868, equation 2. This is torch's own parametrization. It does not normalize
activations, and the data-dependent initialization of the paper's section 3 is not done: g begins as ||v||, so that
the layer begins as the bare convolution.
"""

from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from convbench.norms.contract import NORMS, Norm


def weight_normalized(conv: nn.Conv2d) -> nn.Module:
    """`conv` itself, its weight w_j = g_j v_j / ||v_j|| for each output channel j.

    v is `parametrizations.weight.original1`, in the shape of the weight, and g is `original0`, shape
    `(Cout, 1, 1, 1)`. Weight decay treats v as the convolution's weight, and spares g as it spares any gain.

    Raises:
        ValueError: a kernel is all zero, and has no direction.
    """
    zero = (conv.weight.detach().flatten(1) == 0).all(1)
    if not zero.is_meta and zero.any():
        raise ValueError(
            f"weight normalization needs a direction: the kernel of output channel {int(zero.nonzero()[0])} is all zero"
        )
    return weight_norm(conv, dim=0)


@NORMS.register("weight", aliases=("wn",), reference="Salimans & Kingma 2016, arXiv 1602.07868")
def weight() -> Norm:
    """Weight normalization: length and direction of each output channel's kernel, learned apart."""
    return Norm(on_conv=weight_normalized, has_shift=False)
