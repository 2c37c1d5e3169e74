"""How fast spectral norms are, against the methods that people use, on the same random (Kaiming) layers.

    python benchmarks/spectral_speed.py            # all parts, one thread
    python benchmarks/spectral_speed.py --quick    # one small layer of each part
    python benchmarks/spectral_speed.py --torchlip VENV/lib/python3.11/site-packages    # with deel-torchlip's bounds

CPU time of the process, methods in turns on each layer, the best of the repeats; every ratio is of this run. The error
stands beside each time: of the circular norms against a full SVD in float64, of the zero-padded ones against a Lanczos
iteration to 1e-8. "FFT + SVD" is the method of Sedghi, Gupta & Long 2019 with torch, "Gram" that of Delattre et al.
2023 (batched over the half plane, float32, as published), both written out below. ARPACK is SciPy's svds on the same
float32 operator. deel-torchlip bounds a layer by the norm of its reshaped kernel (power iteration) over a coefficient
of the input size (arXiv:2006.06520): an estimate of a bound, not the norm. Only distinct layers are timed; a sum over
a network counts them as often as the network has them.
"""

import argparse
import importlib
import platform
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, svds
from torch import Tensor, nn

from convbench.models.resnet import resnet18
from convbench.norms import NORMS
from convbench.spectral.lanczos import lanczos_norm
from convbench.spectral.layer_operator import LayerOperator
from convbench.spectral.layer_table import layer_table
from convbench.spectral.linear_operator import Operator
from convbench.spectral.sieve import Grid, Sieve
from convbench.spectral.symbol import convolution_symbol

CIRCULAR = ((64, 56), (128, 28), (256, 14), (512, 7))  # channels, pixels: the stride-1 3x3 convolutions at 224 px
NETWORKS = {"ResNet-18": (4, 3, 3, 3), "ResNet-50": (3, 3, 5, 2)}
AS_THEY_ARE = (  # channels in and out, stride, pixels
    (3, 64, 1, 32),
    (64, 64, 1, 32),
    (64, 128, 2, 32),
    (128, 128, 1, 16),
    (256, 256, 1, 14),
    (512, 512, 1, 7),
)


def fft_svd(weight: Tensor, n: int) -> float:
    """Sedghi et al.: the full plane of frequencies, all singular values."""
    return float(torch.linalg.svdvals(torch.fft.fft2(weight, s=(n, n)).permute(2, 3, 0, 1)).max())


def gram(weight: Tensor, n: int, iterations: int) -> float:
    """Delattre et al.: an upper bound in exact arithmetic, by squaring Gram matrices and rescaling."""
    k = torch.fft.rfft2(weight, s=(n, n)).flatten(2).permute(2, 0, 1)
    log_scale = torch.zeros(len(k))
    for _ in range(iterations):
        size = torch.linalg.matrix_norm(k)
        k = k / size[:, None, None]
        log_scale = 2 * (log_scale + size.log())
        k = k.mH @ k
    size = torch.linalg.matrix_norm(k)
    return float((size.log() + log_scale).div(2**iterations).max().exp())


def sieve(weight: Tensor, n: int) -> float:
    """Ours, with the proof that nothing is larger."""
    found = Sieve(convolution_symbol(weight)).maximum(Grid((n, n)))
    assert found.upper <= found.lower * (1 + 1e-8)
    return found.lower


CIRCULAR_METHODS: dict[str, Callable[[Tensor, int], float]] = {
    "FFT + SVD, float64": lambda w, n: fft_svd(w.double(), n),
    "FFT + SVD, float32": fft_svd,
    "Gram, 6 iterations": lambda w, n: gram(w, n, 6),
    "Gram, 10 iterations": lambda w, n: gram(w, n, 10),
    "ours, certified": sieve,
}


def arpack(operator: Operator) -> float:
    """SciPy's svds on the float32 operator, to 1e-5."""

    def apply(function: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray]:
        return lambda x: function(torch.tensor(x, dtype=torch.float32).view(1, *shape)).numpy().ravel()

    linear_operator: Any = LinearOperator  # its stub knows __init__ only, and the arguments go to __new__
    matrix = linear_operator(
        (operator.output_dim, operator.input_dim),
        matvec=apply(operator.forward, operator.input_shape),
        rmatvec=apply(operator.adjoint, operator.output_shape),
        dtype=np.float32,
    )
    start = np.random.default_rng(0).standard_normal(min(matrix.shape)).astype(np.float32)
    options: Any = {"k": 1, "return_singular_vectors": False, "tol": 1e-5, "v0": start}
    values: Any = svds(matrix, **options)
    return float(values[0])


def interleaved(methods: dict[str, Callable[[], float]], repeats: int) -> dict[str, tuple[float, float]]:
    """CPU seconds, the least of all repeats, and the value of each method."""
    found = {name: (float("inf"), 0.0) for name in methods}
    for _ in range(repeats):
        for name, method in methods.items():
            start = time.process_time()
            value = method()
            found[name] = min(found[name][0], time.process_time() - start), value
    return found


def kaiming(out: int, channels: int) -> Tensor:
    """A random 3x3 kernel."""
    return nn.init.kaiming_normal_(torch.empty(out, channels, 3, 3), generator=torch.Generator().manual_seed(0))


def circular(layers: tuple[tuple[int, int], ...], repeats: int) -> None:
    """Print part (a)."""
    print("\nCircular padding: CPU ms (relative error)\n")
    print(f"| layer | {' | '.join(CIRCULAR_METHODS)} | ratio to FFT + SVD, float64 / float32 |")
    print("|:--|" + "--:|" * (len(CIRCULAR_METHODS) + 1))
    times: dict[str, list[float]] = {name: [] for name in CIRCULAR_METHODS}
    for channels, n in layers:
        weight = kaiming(channels, channels)
        found = interleaved({k: partial(m, weight, n) for k, m in CIRCULAR_METHODS.items()}, repeats)
        exact = found["FFT + SVD, float64"][1]
        cells = [f"{1e3 * seconds:.0f} ({value / exact - 1:+.0e})" for seconds, value in found.values()]
        for name, (seconds, _) in found.items():
            times[name].append(seconds)
        print(f"| {channels}->{channels}, {n} px | {' | '.join(cells)} | {ratios(times, (), -1)} |", flush=True)
    if len(layers) == len(CIRCULAR):
        for network, counts in NETWORKS.items():
            total = [f"{1e3 * np.dot(counts, seconds):.0f}" for seconds in times.values()]
            print(f"| {network}, sum of {sum(counts)} | {' | '.join(total)} | {ratios(times, counts)} |")


def ratios(times: dict[str, list[float]], counts: tuple[int, ...] | list[int], last: int | None = None) -> str:
    """Of the two forms of FFT + SVD to ours, for the layer at `last` or summed by `counts`."""

    def total(name: str) -> float:
        return times[name][last] if last is not None else float(np.dot(counts, times[name]))

    ours = total("ours, certified")
    return " / ".join(f"{total(f'FFT + SVD, {kind}') / ours:.1f}x" for kind in ("float64", "float32"))


def as_they_are(layers: tuple[tuple[int, int, int, int], ...], repeats: int) -> None:
    """Print part (b)."""
    print("\nZero padding: CPU ms (relative error)\n")
    print("| layer | ARPACK to 1e-5 | ours to 1e-5 | ratio | certified upper bound |\n|:--|--:|--:|--:|--:|")
    total = np.zeros(3)
    for channels, out, stride, n in layers:
        conv = convolution(channels, out, stride)
        layer = LayerOperator(conv, (channels, n, n))
        run, unit = layer.iterated or layer.operator, scale(conv)
        found = interleaved(
            {
                "arpack": lambda run=run, unit=unit: arpack(run) / unit,
                "ours": lambda layer=layer: lanczos_norm(layer.operator, 1e-5, iterated=layer.iterated).value,
                "upper": layer.certified_upper,
            },
            repeats,
        )
        true = lanczos_norm(layer.operator, 1e-8, iterated=layer.iterated).value
        cells = [f"{1e3 * seconds:.0f} ({value / true - 1:+.0e})" for seconds, value in found.values()]
        total += [seconds for seconds, _ in found.values()]
        ratio = found["arpack"][0] / found["ours"][0]
        name = f"{channels}->{out}" + (f" stride {stride}" if stride > 1 else "")
        print(f"| {name}, {n} px | {cells[0]} | {cells[1]} | {ratio:.1f}x | {cells[2]} |", flush=True)
    cells = [f"{1e3 * seconds:.0f}" for seconds in total]
    print(f"| sum | {cells[0]} | {cells[1]} | {total[0] / total[1]:.1f}x | {cells[2]} |")


def convolution(channels: int, out: int, stride: int) -> nn.Conv2d:
    """A random 3x3 convolution with zero padding."""
    conv = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
    conv.weight = nn.Parameter(kaiming(out, channels))
    return conv


def scale(conv: nn.Conv2d) -> float:
    """The power of two by which the float32 operator is scaled."""
    return float(np.ldexp(1.0, -int(np.frexp(float(conv.weight.detach().abs().max()))[1])))


def network(quick: bool) -> None:
    """Print part (c)."""
    print("\nAll layers of ResNet-18 at 32 px in one layer table, with certified bounds: CPU s (elapsed)\n")
    print("| budget | layers and batch norms before training | with a gain of its own per channel |\n|:--|--:|--:|")
    for budget in ("fast",) if quick else ("fast", "exact"):
        cells = []
        for has_gains in (False,) if quick else (False, True):
            torch.manual_seed(0)
            model = resnet18(NORMS.build("bn"), 10, 3, stem="cifar")
            for module in model.modules():
                if has_gains and isinstance(module, nn.BatchNorm2d):
                    nn.init.uniform_(module.weight, 0.3, 1.5)
            start, wall = time.process_time(), time.perf_counter()
            layer_table(model, (3, 32, 32), budget=budget, conditioning=False)
            cells.append(f"{time.process_time() - start:.2f} ({time.perf_counter() - wall:.2f})")
        print(f"| {budget} | {' | '.join(cells)} |", flush=True)


def torchlip(layers: tuple[tuple[int, int, int, int], ...], repeats: int) -> None:
    """Print part (d)."""
    normalize = importlib.import_module("deel.torchlip.normalizers").spectral_normalization
    coefficient = importlib.import_module("deel.torchlip.utils.lconv_norm").compute_lconv_coef

    def theirs(conv: nn.Conv2d, n: int) -> float:
        _, _, sigma = normalize(conv.weight.detach().flatten(1), eps=1e-5, maxiter=1000)
        size = (int(conv.stride[0]),) * 2
        return float(sigma) / float(coefficient((3, 3), (conv.in_channels, n, n), size, "zeros"))

    print("\nZero padding, bounds from above: CPU ms (relative distance from the norm)\n")
    print("| layer | deel-torchlip, 1e-5 | ours, certified |\n|:--|--:|--:|")
    for channels, out, stride, n in layers:
        conv = convolution(channels, out, stride)
        layer = LayerOperator(conv, (channels, n, n))
        true = lanczos_norm(layer.operator, 1e-6, iterated=layer.iterated).value
        found = interleaved(
            {"theirs": partial(theirs, conv, n), "ours": lambda la=layer: la.certified_upper(True)}, repeats
        )
        cells = [f"{1e3 * seconds:.0f} ({value / true - 1:+.1%})" for seconds, value in found.values()]
        print(f"| {channels}->{out}, stride {stride}, {n} px | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small layer of each part, once")
    parser.add_argument("--parts", nargs="+", default=["circular", "zero", "network"], metavar="PART")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--torchlip", metavar="PATH", help="a folder with deel-torchlip installed")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    repeats = 1 if options.quick else options.repeats
    print(f"CPU time, {options.threads} thread, best of {repeats}, torch {torch.__version__}, {platform.machine()}")
    if "circular" in options.parts:
        circular(CIRCULAR[:1] if options.quick else CIRCULAR, repeats)
    if "zero" in options.parts:
        as_they_are(AS_THEY_ARE[:1] if options.quick else AS_THEY_ARE, repeats)
    if "network" in options.parts:
        network(options.quick)
    if options.torchlip:
        sys.path.append(options.torchlip)
        torchlip(AS_THEY_ARE[:1] if options.quick else AS_THEY_ARE, repeats)


if __name__ == "__main__":
    main()
