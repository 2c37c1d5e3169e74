"""The convolution that every model here begins with: He initialization, and a bias where the norm has no shift."""

from torch import nn

from convbench.norms import Norm


def conv2d(
    norm: Norm,
    in_channels: int,
    out_channels: int,
    kernel_size: int = 3,
    stride: int = 1,
    padding: int | None = None,
    *,
    scale: float = 1.0,
) -> nn.Conv2d:
    """A convolution to be given to `norm`, initialized before the norm adds parameters of its own.

    Weights are normal with variance 2 / fan_in (He et al. 2015, arXiv:1502.01852, eq. 10), times `scale`; the bias
    exists only where `norm` has no shift, and begins at zero.

    Args:
        padding: None pads so that stride 1 keeps the size of an odd kernel.
    """
    conv = nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2 if padding is None else padding,
        bias=not norm.has_shift,
    )
    nn.init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="relu")
    conv.weight.data.mul_(scale)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
