"""How fast ConvNorm is, and what it keeps for the backward pass, against convolution and batch normalization.

    python benchmarks/norm_speed.py                       # ResNet-18 and one layer of stride 2, one thread
    python benchmarks/norm_speed.py --bf16                # the same under bfloat16 autocast
    python benchmarks/norm_speed.py --bf16 --channels-last    # with channels last in memory, as is usual with it
    python benchmarks/norm_speed.py --rows bn convnorm --repeats 5

CPU time of the process, all rows in turns, the best of the repeats; the ratios are to the row `bn` of the same run.
"saved" counts the storages that autograd keeps for the backward pass, parameters and buffers apart. The row
`literal` is the layer as public code has it: V from Fourier transforms of all kernels, every convolution at full
resolution, complex products by autograd, V kept from the last training step for evaluation.
"""

import argparse
import platform
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convbench.models.resnet import resnet18
from convbench.norms import NORMS, Norm

ROWS = ("bn", "none", "literal", "convnorm", "convnorm:grid=output")
GOALS = {  # what -> (reach, aim), as ratios to conv + BatchNorm
    ("convnorm", "train"): "<= 2.4, <= 1.9",
    ("convnorm", "eval"): "<= 2.7, <= 1.9",
    ("convnorm", "saved"): "<= 1.6, <= 1.1",
    ("convnorm", "stride-2 layer"): "<= 7.5, less",
    ("convnorm:grid=output", "train"): "<= 1.7, <= 1.4",
}
COLUMNS = ("train", "eval", "saved", "stride-2 layer")


class LiteralConvNorm2d(nn.Module):
    """The published layer, written from its formulas without any of our code."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.stride, self.padding = conv.weight, conv.stride, conv.padding
        channels, kernel_size = conv.out_channels, (conv.kernel_size[0], conv.kernel_size[1])
        self.r = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size[0] // 2, groups=channels)
        self.bn = nn.BatchNorm2d(channels)
        self.gain: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        span = self.weight.shape[-1] - 1
        c = F.conv2d(x, self.weight, padding=span).float()
        torus = c.shape[-2:]
        if self.training or self.gain is None:
            with torch.no_grad():
                self.gain = torch.fft.rfft2(self.weight.float(), s=torus).abs().square().sum(1).rsqrt()
        y = torch.fft.irfft2(torch.fft.rfft2(c) * self.gain, s=torus)
        start, side = span - int(self.padding[0]), x.shape[-1] + 2 * int(self.padding[0]) - span
        y = y[..., start : start + side : self.stride[0], start : start + side : self.stride[1]]
        return self.bn(self.r(y))


def norm_of(row: str) -> Norm:
    """The normalization that a row of the table stands for."""
    return Norm(on_conv=LiteralConvNorm2d) if row == "literal" else NORMS.build(row)


def cpu_time(work: Callable[[], object]) -> float:
    """CPU seconds of the process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def saved_bytes(module: nn.Module, x: Tensor) -> int:
    """Bytes of the distinct storages that a forward pass keeps, without parameters and buffers."""
    own = {t.untyped_storage().data_ptr() for t in (*module.parameters(), *module.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = module(x)
    del y
    return sum(size for pointer, size in kept.items() if pointer not in own)


def train_step(module: nn.Module, x: Tensor, autocast: AbstractContextManager[object]) -> None:
    """Forward and backward."""
    module.zero_grad()
    with autocast:
        y = module(x)
    y.float().square().mean().backward()


def evaluate(module: nn.Module, x: Tensor, autocast: AbstractContextManager[object]) -> None:
    """Forward without gradients."""
    with torch.inference_mode(), autocast:
        module(x)


def measure(
    rows: list[str], batch: int, repeats: int, bf16: bool, memory_format: torch.memory_format
) -> dict[str, dict[str, float]]:
    """Seconds and bytes by row and column."""
    generator = torch.Generator().manual_seed(0)
    images, maps = (
        torch.randn(batch, channels, 32, 32, generator=generator).contiguous(memory_format=memory_format)
        for channels in (3, 64)
    )
    maps.requires_grad_()
    found: dict[str, dict[str, float]] = {}
    modules: dict[str, tuple[nn.Module, nn.Module]] = {}

    def autocast() -> AbstractContextManager[object]:
        return torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext()

    for row in rows:
        norm = norm_of(row)
        network, layer = resnet18(norm, 10, 3, stem="cifar"), norm(nn.Conv2d(64, 128, 3, 2, 1, bias=False))
        modules[row] = network.to(memory_format=memory_format), layer.to(memory_format=memory_format)
        with autocast():
            found[row] = dict.fromkeys(COLUMNS, float("inf")) | {"saved": saved_bytes(network, images)}
    for _ in range(repeats):
        for row, (network, layer) in modules.items():
            times = {
                "train": cpu_time(lambda network=network: train_step(network.train(), images, autocast())),
                "eval": cpu_time(lambda network=network: evaluate(network.eval(), images, autocast())),
                "stride-2 layer": cpu_time(lambda layer=layer: train_step(layer.train(), maps, autocast())),
            }
            found[row] |= {column: min(found[row][column], value) for column, value in times.items()}
    return found


def print_table(found: dict[str, dict[str, float]]) -> None:
    """Markdown: each row's values, its ratios to `bn`, and what was to be reached and aimed at."""
    print(f"| norm | {' | '.join(COLUMNS)} |\n|:--|{'--:|' * len(COLUMNS)}")
    for row, values in found.items():
        cells = []
        for column in COLUMNS:
            value = f"{values[column] / 2**20:.0f} MiB" if column == "saved" else f"{1e3 * values[column]:.0f} ms"
            ratio = f" {values[column] / found['bn'][column]:.2f}x" if "bn" in found else ""
            goal = GOALS.get((row, column))
            cells.append(value + ratio + (f" (reach {goal.replace(', ', ', aim ')})" if goal else ""))
        print(f"| {row} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), help="norms, as --norm takes them, and 'literal'")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true", help="bfloat16 autocast")
    parser.add_argument("--channels-last", action="store_true", help="memory format of images and weights")
    options = parser.parse_args()
    memory_format = torch.channels_last if options.channels_last else torch.contiguous_format
    torch.set_num_threads(options.threads)
    kind = ("bfloat16 autocast" if options.bf16 else "float32") + (", channels last" if options.channels_last else "")
    print(f"ResNet-18 at 32 px and one layer 64->128 of stride 2, batch {options.batch}, {kind}, CPU time,")
    print(f"{options.threads} thread, best of {options.repeats}, torch {torch.__version__}, {platform.machine()}\n")
    print_table(measure(options.rows, options.batch, options.repeats, options.bf16, memory_format))


if __name__ == "__main__":
    main()
