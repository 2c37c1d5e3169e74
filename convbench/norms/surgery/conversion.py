"""convert(model, norm): the normalizations of any ConvNet exchanged for one of ours, its weights kept."""

import copy
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from convbench.errors import ConfigError
from convbench.norms.contract import NORMS, Norm, NormalizedConv2d
from convbench.norms.frozen_bn import FrozenBatchNorm2d
from convbench.norms.placement import ALL, canonical_norm, chosen, split_where
from convbench.norms.surgery.conversion_report import ConversionReport, ConvertedLayer
from convbench.norms.surgery.forward_steps import forward_steps, is_normalization
from convbench.norms.surgery.pairing import Pair, normalized_channels, pair
from convbench.norms.surgery.plain_convolution import plain_convolution, weight_computed_by
from convbench.norms.surgery.takeover import take_over
from convbench.registry import Entry


@dataclass(frozen=True)
class Conversion:
    """A converted network, and what was done to each of its convolutions (`print(conversion)` shows it)."""

    model: nn.Module
    report: ConversionReport

    def __str__(self) -> str:
        return str(self.report)


def convert(
    model: nn.Module, norm: str, *, where: str = ALL, example: Tensor | None = None, seed: int = 0
) -> Conversion:
    """A copy of `model` whose convolutions and normalizations are those of `norm`; `model` stays as it is.

    Each convolution is paired with its normalization, after it or (with an activation between) before it. In a pair
    the convolution becomes `norm.on_conv(conv)` and the normalization, at its own place, `norm.on_output(channels)`:

    - Kernels and biases keep their values. gamma, beta, `eps` and `momentum` stay, unless `norm` says otherwise; so do
      running statistics, where the convolution does.
    - Where `on_conv` brings a normalization of its output along (ConvNorm's batch normalization), that one takes over
      gamma and beta, and the old one goes. One that stands before its convolution normalizes something else, and stays.
    - A normalization of the weight that a convolution has (torch's `spectral_norm`, `oni`) goes; the kernel that it
      gave at evaluation stays.
    - Where `norm` has no shift (`none`, `weight`), a convolution without a bias gets one: the beta of the normalization
      that went from behind it, or zero.
    - Left, and named in the report: a convolution or a normalization that is called several times or has no partner
      (as behind an addition), functional ones, and what `norm` refuses.

    A convolution that changed stands in a `NormalizedConv2d`, so that its keys in the state dict gain ".conv"; a
    normalization with an activation of its own (timm's) becomes a sequence of `norm`, `drop` and `act`. All other names
    stay.

    Args:
        norm: a registered normalization, with options ("mixture:components=3,where=last:2").
        where: "all", "last:n" (the n last pairs), or a pattern of module names such as "layer4*".
        example: a batch of images, needed only where the forward pass cannot be traced symbolically.
        seed: of the parameters that `norm` adds; PyTorch's global random state is as before.

    Raises:
        ConfigError: an unknown norm or option, a model that cannot be traced, or nothing that could be converted.
    """
    _check_model(model)
    text, place = split_where(norm)
    if ALL not in (where, place):
        raise ConfigError(f"where is given twice: {place!r} in the norm's name, and {where!r}.")
    where = place if where == ALL else where
    entry, options = NORMS.parse(text)
    built: Norm = NORMS.build(text)
    pairing = pair(model, forward_steps(model, example))
    if not pairing.pairs:
        first = next((f" ({name}: {reason})" for name, reason in pairing.left.items()), "")
        raise ConfigError(
            f"{type(model).__name__} has no convolution that could be paired with a normalization{first}."
        )
    wanted = chosen([(p.conv, p.norm) for p in pairing.pairs], where)
    if not any(wanted):
        names = ", ".join(p.conv for p in pairing.pairs[:3])
        raise ConfigError(f"where={where} means none of the {len(pairing.pairs)} convolutions ({names}, ...).")

    layers: list[ConvertedLayer] = []
    with torch.random.fork_rng(devices=[]):
        surgery = _Surgery(copy.deepcopy(model), built, _settings_of_output(entry, options))
        torch.default_generator.manual_seed(seed)  # `torch.manual_seed` would also reset every GPU
        for found, is_wanted in zip(pairing.pairs, wanted, strict=True):
            done, note = surgery.exchange(found) if is_wanted else (False, f"not in where={where}")
            layers.append(ConvertedLayer(found.conv, found.norm, found.order, done, note))
    for name, reason in pairing.left.items():
        module = surgery.originals.get(name)
        is_norm = is_normalization(module) if module is not None else "norm" in name
        layers.append(ConvertedLayer("" if is_norm else name, name if is_norm else "", "", False, reason))
    name = canonical_norm(text if where == ALL else f"{text}{',' if ':' in text else ':'}where={where}")
    report = ConversionReport(name, tuple(layers))
    if not report.converted:
        raise ConfigError(f"norm {name!r} takes none of the convolutions chosen: {layers[wanted.index(True)].note}.")
    return Conversion(surgery.model, report)


def _check_model(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise ConfigError(f"convert takes a model, an nn.Module, and not {type(model).__name__}.")
    if isinstance(model, torch.jit.ScriptModule):
        raise ConfigError("a scripted model cannot be converted: convert it before `torch.jit.script`.")
    for name, module in model.named_modules():
        tensors = (*module._parameters.values(), *module._buffers.values())
        if any(tensor is not None and is_lazy(tensor) for tensor in tensors):
            raise ConfigError(f"{type(module).__name__} {name!r} has no weights yet: run the model on a batch first.")


def _settings_of_output(entry: Entry[Any], options: dict[str, Any]) -> set[str]:
    """Which of the options given are settings of the normalization of the output: `oni` has an `eps` that is not."""
    found = set()
    for name in {"eps", "momentum"} & options.keys():
        another = options | {name: 0.25 if options[name] == 0.5 else 0.5}
        one, other = (entry.function(**given).on_output(1) for given in (options, another))
        if getattr(one, name, None) != getattr(other, name, None):
            found.add(name)
    return found


class _Surgery:
    """The copy under conversion; pairs are exchanged one by one."""

    def __init__(self, model: nn.Module, norm: Norm, chosen: Collection[str]) -> None:
        self.model, self.norm, self.chosen = model, norm, chosen
        self.originals = dict(model.named_modules(remove_duplicate=False))
        self.exchanged: dict[str, str] = {}  # normalization -> what was done to it
        self.owners: dict[nn.Parameter, list[str]] = {}
        for name, module in model.named_modules():
            for parameter in module._parameters.values():
                if parameter is not None:
                    self.owners.setdefault(parameter, []).append(name)
        probe = nn.Conv2d(1, 1, 1)
        self.changes_weights = norm.on_conv(probe) is not probe or parametrize.is_parametrized(probe)

    def exchange(self, found: Pair) -> tuple[bool, str]:
        """Whether the pair was converted, and what was done or why not."""
        conv, old = self.originals[found.conv], self.originals[found.norm]
        assert isinstance(conv, nn.Conv2d)
        channels = normalized_channels(old)
        assert channels is not None
        like, parameters = next(conv.parameters()), set(conv.parameters())
        try:
            new = self.norm.on_output(channels)
            plain, removed = plain_convolution(conv)
            kind = type(plain).__name__  # a parametrization changes it
            changed = self._converted(plain, old if found.order == "post" else None, like)
        except (ValueError, ConfigError) as error:  # what the norm's own rules refuse
            return False, str(error).rstrip(".")
        notes = [removed] if removed else []
        if changed is not None:
            notes.append(f"{kind} becomes {type(changed).__name__}")
            inner = next((m for m in changed.modules() if is_normalization(m)), None)
            if inner is not None and found.order == "pre":
                self.exchanged.setdefault(found.norm, f"{type(old).__name__} before it stays: the new one is behind it")
            elif inner is not None:
                taken = take_over(inner, old, statistics=False, chosen=self.chosen)
                notes[-1] += f" with {type(inner).__name__}{_kept(taken)}"
        now = plain if changed is None else changed
        if changed is not None or plain is not conv:
            self._replace(conv, now)
        if others := self._owners_of(parameters - set(now.parameters()), but=conv):
            notes.append(f"its weight is no longer that of {' and '.join(others)}")
        if changed is None and (by := weight_computed_by(plain)):
            notes.append(f"its weight is still computed by {by}")
        if found.norm not in self.exchanged:
            self.exchanged[found.norm] = self._exchange_norm(old, new.to(like), statistics=changed is None)
        return True, "; ".join([*notes, self.exchanged[found.norm]])

    def _converted(self, conv: nn.Conv2d, behind: nn.Module | None, like: Tensor) -> nn.Module | None:
        """`norm.on_conv(conv)`, or None where that is `conv` with the same parameters, on the device of `like`."""
        if self.changes_weights and (by := weight_computed_by(conv)):
            raise ConfigError(f"its weight is computed by {by}, which would be lost")
        bias, before = conv.bias, {name for name, _ in conv.named_parameters()}
        penalty = vars(conv).pop("norm_penalty", None)  # of the norm that goes
        if not self.norm.has_shift and bias is None:
            shift = getattr(behind, "bias", None)
            start = torch.zeros(conv.out_channels) if shift is None else shift.detach().clone()
            learned = shift.requires_grad if isinstance(shift, nn.Parameter) else True
            conv.bias = nn.Parameter(start.to(like), learned)
            before.add("bias")
        here = torch.device("meta" if like.is_meta else "cpu")
        try:
            changed = self.norm.on_conv(conv.to(here))  # drawn on the CPU, so that a seed means the same everywhere
            if changed is not conv and type(conv) is not nn.Conv2d:
                raise ConfigError(f"{type(conv).__name__} has a forward pass of its own, which would be lost")
        except (ValueError, ConfigError):
            conv.bias = bias
            if penalty is not None:
                conv.norm_penalty = penalty
            raise
        finally:
            conv.to(like.device)
        if changed is conv and {name for name, _ in conv.named_parameters()} == before:
            return None
        return changed.to(like.device).train(conv.training)

    def _owners_of(self, parameters: set[nn.Parameter], *, but: nn.Module) -> list[str]:
        """The modules beside `but` that had these; weight normalization has two new ones instead."""
        names = {name for parameter in parameters for name in self.owners.get(parameter, [])}
        return sorted(name for name in names if self.originals[name] not in set(but.modules()))

    def _exchange_norm(self, old: nn.Module, new: nn.Module, *, statistics: bool) -> str:
        if isinstance(new, nn.Identity):
            note = f"{type(old).__name__} removed"
        else:
            taken = take_over(new, old, statistics=statistics, chosen=self.chosen)
            note = f"{type(old).__name__} becomes {type(new).__name__}{_kept(taken)}"
            if isinstance(new, FrozenBatchNorm2d) and "running_var" not in taken:
                note += "; with no statistics to freeze it normalizes nothing"
        tail = OrderedDict((name, child) for name, child in old.named_children() if name in ("drop", "act"))
        if tail:  # timm's normalizations apply an activation too
            new = nn.Sequential(OrderedDict(norm=new, **tail))
        self._replace(old, new.train(old.training))
        return note

    def _replace(self, old: nn.Module, new: nn.Module) -> None:
        """Put `new` wherever the network holds `old`, by whatever name."""
        # Training finds a normalization's own parameters, which do not decay, by the unit that it stands in.
        unit = NormalizedConv2d(new, nn.Identity()).train(old.training) if isinstance(old, nn.Conv2d) else new
        for parent in list(self.model.modules()):
            for name, child in list(parent._modules.items()):
                if child is old:
                    parent.register_module(name, new if isinstance(parent, NormalizedConv2d) else unit)


def _kept(taken: list[str]) -> str:
    return f", {', '.join(taken)} kept" if taken else ""
