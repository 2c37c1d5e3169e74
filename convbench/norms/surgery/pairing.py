"""Which normalization belongs to which convolution of a network.

    post-activation   conv -> norm                   the norm takes the convolution's output, and nobody else does
    pre-activation    norm -> activation -> conv     dropout may stand between, too

Both readings can hold at once (norm, relu, conv, norm, relu, conv: is the second norm that of the first convolution or
of the second?). Every convolution is first given the norm after it; where that leaves a norm before and a convolution
behind without a partner, the chain between them is read as pre-activation, which leaves none. So a residual network
pairs as published in either form.
"""

from dataclasses import dataclass, field

from torch import nn

from convbench.norms.surgery.forward_steps import Step, is_convolution, is_normalization

_ACTIVATIONS = {
    "celu", "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish", "relu", "relu6", "selu",
    "sigmoid", "silu", "softplus", "tanh",
}  # fmt: skip
_BETWEEN = _ACTIVATIONS | {"dropout", "dropout2d", "feature_dropout", "alpha_dropout", "contiguous"}
_FUNCTIONS = {"batch_norm", "instance_norm", "group_norm", "layer_norm", "conv2d"}


@dataclass(frozen=True)
class Pair:
    """A convolution and its normalization, by their names in the network; `order` is "post" or "pre"."""

    conv: str
    norm: str
    order: str


@dataclass(frozen=True)
class Pairing:
    """The pairs in the order of their convolutions' calls, and why each other convolution or normalization has none."""

    pairs: list[Pair] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)


def normalized_channels(norm: nn.Module) -> int | None:
    """The channels of (N, C, H, W) that `norm` is made for; None where it works on something else."""
    for name in ("num_features", "num_channels"):
        if isinstance(channels := getattr(norm, name, None), int):
            return channels
    shape = getattr(norm, "normalized_shape", None)
    if isinstance(shape, tuple) and len(shape) == 1 and type(norm).__name__.endswith("2d"):
        return int(shape[0])  # over the channels of each position, as in ConvNeXt
    running = getattr(norm, "running_mean", None)
    return None if running is None else running.numel()


def pair(model: nn.Module, steps: list[Step]) -> Pairing:
    """Pair the convolutions and normalizations of `model`, whose forward pass is `steps`."""
    return _Reading(model, steps).pairing()


class _Reading:
    def __init__(self, model: nn.Module, steps: list[Step]) -> None:
        self.steps = steps
        self.users: list[list[int]] = [[] for _ in steps]
        self.calls: dict[nn.Module, list[int]] = {}
        for place, step in enumerate(steps):
            for source in step.sources:
                self.users[source].append(place)
            if step.module is not None:
                self.calls.setdefault(step.module, []).append(place)
        layers = {m: name for name, m in model.named_modules() if is_convolution(m) or is_normalization(m)}
        inner = {part for layer in layers for part in layer.modules() if part is not layer}  # ConvNorm's r and bn
        self.names = {layer: name for layer, name in layers.items() if layer not in inner}
        once = [places[0] for module, places in self.calls.items() if module in self.names and len(places) == 1]
        self.convs = sorted(place for place in once if isinstance(steps[place].module, nn.Conv2d))
        self.norms = sorted(place for place in once if is_normalization(self._module(place)))
        self.after = {conv: norm for conv in self.convs if (norm := self._norm_after(conv)) is not None}
        self.before = {conv: norm for conv in self.convs if (norm := self._norm_before(conv)) is not None}

    def pairing(self) -> Pairing:
        partner = dict(self.after)
        followers: dict[int, list[int]] = {}
        for conv, norm in self.before.items():
            followers.setdefault(norm, []).append(conv)

        def claim(norm: int, seen: set[int]) -> bool:
            """Give `norm` a convolution behind it, whose own norm then takes one behind itself."""
            # Those without a norm come last: they may share this one.
            for conv in sorted(followers.get(norm, []), key=lambda conv: conv not in partner):
                if conv not in seen:
                    seen.add(conv)
                    if conv not in partner or claim(partner[conv], seen):
                        partner[conv] = norm
                        return True
            return False

        for norm in self.norms:
            if norm not in partner.values():
                claim(norm, set())
        # A pre-activation that a shortcut shares with its block stands before both convolutions.
        leading = {norm for conv, norm in partner.items() if self.before.get(conv) == norm}
        for conv, norm in self.before.items():
            if conv not in partner and norm in leading:
                partner[conv] = norm
        pairs = [
            Pair(self._name(conv), self._name(norm), "post" if self.after.get(conv) == norm else "pre")
            for conv, norm in sorted(partner.items())
        ]
        return Pairing(pairs, self._left({*partner, *partner.values()}))

    def _module(self, place: int) -> nn.Module:
        module = self.steps[place].module
        assert module is not None
        return module

    def _name(self, place: int) -> str:
        return self.names[self._module(place)]

    def _norm_after(self, conv: int) -> int | None:
        place = conv
        while len(self.users[place]) == 1:
            place = self.users[place][0]
            if place in self.norms:
                channels = normalized_channels(self._module(place))
                return place if channels == self._module(conv).out_channels else None
            if not isinstance(self.steps[place].module, nn.Identity):
                return None
        return None

    def _norm_before(self, conv: int) -> int | None:
        place = conv
        while len(self.steps[place].sources) == 1:
            place = self.steps[place].sources[0]
            if place in self.norms:
                channels = normalized_channels(self._module(place))
                return place if channels == self._module(conv).in_channels else None
            if not _is_between(self.steps[place]):
                return None
        return None

    def _left(self, paired: set[int]) -> dict[str, str]:
        left: dict[str, str] = {}
        for module, name in self.names.items():
            places = self.calls.get(module, [])
            if len(places) != 1:
                left[name] = f"called {len(places)} times in one forward pass" if places else "not called"
            elif places[0] not in paired:
                left[name] = self._reason(places[0])
        for place, step in enumerate(self.steps):
            if step.module is None and step.name in _FUNCTIONS:
                left[f"{step.name}() at step {place}"] = "called as a function, not as a module"
        return left

    def _reason(self, place: int) -> str:
        module = self._module(place)
        if is_normalization(module):
            if normalized_channels(module) is None:
                return f"{type(module).__name__} does not work on the channels of (N, C, H, W)"
            return f"follows {self._called(self.steps[place].sources)}, and leads to no free convolution"
        if not isinstance(module, nn.Conv2d):
            return f"{type(module).__name__}: only nn.Conv2d is converted"
        users = self.users[place]
        if len(users) > 1 and any(user in self.norms for user in users):
            return f"its output goes to {self._called(users)}"
        return f"no normalization of its own (its output goes to {self._called(users)})"

    def _called(self, places: list[int] | tuple[int, ...]) -> str:
        """The modules and functions at these steps, in words."""
        found = [self.steps[place] for place in dict.fromkeys(places)]
        words = [step.name if step.module is None else f"{type(step.module).__name__} {step.name}" for step in found]
        return " and ".join(words) or "nothing"


def _is_between(step: Step) -> bool:
    """Whether this may stand between a normalization and the convolution that it leads to."""
    if step.module is None:
        return step.name.rstrip("_") in _BETWEEN
    home = type(step.module).__module__
    return home in ("torch.nn.modules.activation", "torch.nn.modules.dropout") or isinstance(step.module, nn.Identity)
