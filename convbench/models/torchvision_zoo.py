"""torchvision's classification models, untrained: `torchvision:<name>`.

torchvision is imported in the functions: it costs more than a second, and no built-in model needs it.
"""

from typing import Any

from torch import nn

from convbench.errors import UnknownNameError

TORCHVISION_PREFIX = "torchvision:"


def check_torchvision(name: str) -> None:
    """Raise `UnknownNameError` unless `name` ("torchvision:resnet18") is a classification model."""
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if (short := name.removeprefix(TORCHVISION_PREFIX)) not in known:
        raise UnknownNameError("torchvision model", short, known)


def build_from_torchvision(name: str, num_classes: int) -> nn.Module:
    """The torchvision model `name` ("torchvision:resnet18") with new weights and `num_classes` outputs.

    Inception's and GoogLeNet's auxiliary heads are left out, so that the model returns logits in every mode.
    """
    import torchvision

    check_torchvision(name)
    short = name.removeprefix(TORCHVISION_PREFIX)
    options: dict[str, Any] = {}
    if short in ("googlenet", "inception_v3"):
        # `init_weights` must be said, else torchvision warns.
        options = {"aux_logits": False, "init_weights": True}
    return torchvision.models.get_model(short, weights=None, num_classes=num_classes, **options)
