"""How fast mixture normalization is: CPU time and memory against `nn.BatchNorm2d`, in one run, one thread.

    python benchmarks/mixture_speed.py                       # the layers, then ResNet-20
    python benchmarks/mixture_speed.py --repeats 40 --only layers

All sides of a row run in turns, and the best time of each counts. "Literal" is the definition written down with a loop
over the components and left to autograd, from the same running mixture: what one would write after reading the paper.
"torch" and "compiled" are ours without and with the extra of that name.
"""

import argparse
import copy
import os
import platform
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convbench.models import build_model
from convbench.norms import MixtureNorm2d
from convbench.norms.mixtures.compiled import is_available
from convbench.runtime import COMPILED_SWITCH

OURS = ("torch", "compiled")
SHAPES = [(64, 64, 32, 32), (64, 128, 16, 16), (64, 512, 4, 4)]


class LiteralMixture(nn.Module):
    """Training and evaluation of mixture normalization as the formulas read, one component at a time."""

    def __init__(self, ours: MixtureNorm2d) -> None:
        super().__init__()
        self.state = {name: value.clone() for name, value in ours.state_dict().items()}
        self.weight, self.bias = nn.Parameter(torch.ones(ours.num_features)), nn.Parameter(torch.zeros(1))
        self.components = ours.components

    def posteriors(self, x: Tensor, mean: Tensor, var: Tensor) -> list[Tensor]:
        """p(k | x) of the running mixture in standardized units, each `(N, 1, H, W)`."""
        z = (x - mean) / (var + 1e-5).sqrt()
        joint = []
        for k in range(self.components):
            center, spread = self.state["comp_mean"][k].view(-1, 1, 1), self.state["comp_var"][k].view(-1, 1, 1)
            density = -0.5 * ((z - center) ** 2 / spread + spread.log()).sum(1, keepdim=True)
            joint.append(density + self.state["comp_weight"][k].log())
        return list(torch.stack(joint).softmax(0))

    def forward(self, x: Tensor) -> Tensor:
        axes = (0, 2, 3)
        mean, var = self.state["running_mean"].view(-1, 1, 1), self.state["running_var"].view(-1, 1, 1)
        with torch.no_grad():
            if self.training:
                mean, var = x.mean(axes, keepdim=True), x.var(axes, keepdim=True)
            resp = self.posteriors(x, mean, var)
        y = torch.zeros_like(x)
        for k, r in enumerate(resp):
            share = r.mean()
            if self.training:
                weight = r / r.sum()
                center = (weight * x).sum(axes, keepdim=True)
                spread = (weight * (x - center) ** 2).sum(axes, keepdim=True)
            else:
                share = self.state["comp_weight"][k]
                center = mean + self.state["comp_mean"][k].view(-1, 1, 1) * var.sqrt()
                spread = self.state["comp_var"][k].view(-1, 1, 1) * var
            y = y + r / share.clamp_min(1e-2).sqrt() * (x - center) / (spread + 1e-5).sqrt()
        return y * self.weight.view(-1, 1, 1) + self.bias


def cpu_time(work: Callable[[], object]) -> float:
    """CPU milliseconds of the process."""
    start = time.process_time()
    work()
    return 1e3 * (time.process_time() - start)


def best_times(sides: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The least time of each side; they take turns, so that a busy moment of the machine hits all of them."""
    for work in sides.values():
        work()
        work()
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(repeats):
        for name, work in sides.items():
            best[name] = min(best[name], cpu_time(work))
    return best


def saved_bytes(module: nn.Module, x: Tensor) -> int:
    """Bytes that one forward pass keeps for the backward pass, each storage once, without the parameters'."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = module(x)
    for parameter in module.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    del y
    return sum(kept.values())


def layer_input(shape: tuple[int, ...]) -> Tensor:
    """What a normalization gets in a network: a convolution of rectified noise whose level varies with the place."""
    generator = torch.Generator().manual_seed(0)
    n, c, h, w = shape
    level = F.interpolate(torch.randn(n, c, 2, 2, generator=generator), (h, w), mode="bilinear")
    kernel = torch.randn(c, c, 3, 3, generator=generator) / (4.5 * c) ** 0.5
    return F.conv2d((level + torch.randn(shape, generator=generator)).relu(), kernel, padding=1)


def switched(side: str, work: Callable[[], object]) -> Callable[[], object]:
    """`work` as this side does it: with compiled loops or without."""

    def run() -> None:
        os.environ[COMPILED_SWITCH] = "1" if side == "compiled" else "0"
        work()

    return run


def print_layers(repeats: int, dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    """Markdown: per shape and K, forward and backward, evaluation and memory against batch normalization."""
    names = ("literal", *OURS)
    print(
        f"\n{dtype}, {memory_format}; all but the milliseconds as ratios to batch normalization\n".replace("torch.", "")
    )
    print(f"| shape | K | bn, ms | {' | '.join(names)} | eval: bn, ms | {' | '.join(names)} | saved: literal | ours |")
    print(f"|:--|{10 * '--:|'}")
    for shape in SHAPES:
        x = layer_input(shape).to(dtype).contiguous(memory_format=memory_format).requires_grad_()
        upstream = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(x)
        upstream = upstream.contiguous(memory_format=memory_format)
        for components in (2, 3, 5):
            ours, bn = MixtureNorm2d(shape[1], components), nn.BatchNorm2d(shape[1])
            for _ in range(3):
                ours(x)
            sides = {"bn": bn, "literal": LiteralMixture(ours), "torch": ours, "compiled": copy.deepcopy(ours)}

            def step(module: nn.Module, x: Tensor = x, upstream: Tensor = upstream) -> None:
                x.grad = None
                module(x).backward(upstream.to(x.dtype))

            def time_all(work: Callable[[nn.Module], object], sides: dict[str, nn.Module] = sides) -> dict[str, float]:
                runs = {name: switched(name, partial(work, module)) for name, module in sides.items()}
                return best_times(runs, repeats)

            train = time_all(step)
            memory = {name: saved_bytes(sides[name], x) for name in ("bn", "literal", "compiled")}
            for module in sides.values():
                module.eval()
            with torch.no_grad():
                evaluate = time_all(lambda module, x=x: module(x))
            row = []
            for measured in (train, evaluate):
                row += [f"{measured['bn']:.2f}", *(f"{measured[name] / measured['bn']:.2f}" for name in names)]
            row += [f"{memory[name] / memory['bn']:.3f}" for name in ("literal", "compiled")]
            print(f"| {'×'.join(map(str, shape))} | {components} | {' | '.join(row)} |", flush=True)


def print_network(repeats: int, bf16: bool) -> None:
    """A training step of ResNet-20, batch 64 of 32 px, each normalization in all layers."""
    memory_format = torch.channels_last if bf16 else torch.contiguous_format
    images = layer_input((64, 3, 32, 32)).contiguous(memory_format=memory_format)
    labels = torch.arange(64) % 10
    sides = {}
    for side in ("bn", *OURS):
        torch.manual_seed(0)
        model = build_model("resnet20", "bn" if side == "bn" else "mixture", num_classes=10).train()
        model = model.to(memory_format=memory_format)
        optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)

        def step(model: nn.Module = model, optimizer: torch.optim.SGD = optimizer) -> None:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = model(images)
            F.cross_entropy(logits.float(), labels).backward()
            optimizer.step()

        sides[side] = switched(side, step)
    best = best_times(sides, repeats)
    ratios = ", ".join(f"{side} {best[side] / best['bn']:.2f}" for side in OURS)
    print(f"\nResNet-20, batch 64, {'bfloat16 autocast, channels_last' if bf16 else 'float32'}, training step: "
          f"bn {best['bn']:.0f} ms, mixture in all layers as ratio: {ratios}", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time and memory of mixture normalization against batch norm.")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--only", choices=("layers", "network"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, "
          f"torch {torch.__version__}, best CPU time of {arguments.repeats}, 1 thread")  # fmt: skip
    if not is_available():
        print('numba is not installed: "compiled" is "torch". pip install "convbench[compiled]"')
    if arguments.only != "network":
        print_layers(arguments.repeats, torch.float32, torch.contiguous_format)
        print_layers(arguments.repeats, torch.bfloat16, torch.channels_last)
    if arguments.only != "layers":
        print_network(arguments.repeats, bf16=False)
        print_network(arguments.repeats, bf16=True)


if __name__ == "__main__":
    main()
