"""How fast the largest local Jacobian norm over 1,000 images of a ResNet-20 is found, against one image at a time.

    python benchmarks/jacobian_speed.py                           # noise images, batch norms of a short warm-up
    python benchmarks/jacobian_speed.py --run runs/cifar10-resnet20-bn-s0-0d58b287      # a trained network, its images
    python benchmarks/jacobian_speed.py --images 200 --repeats 2

CPU time of one thread, rows in turns over the same images, the best of the repeats; a reference goes over so many of
them as `--reference-images` says and is scaled up. `loop` is the definition: `torch.autograd.functional.jacobian` of
one image, then its singular values. `deel-torchlip` (`evaluate_lip_const`, batches of 32) is measured where that
package can be imported. The error is that of the largest norm over the images that the row went over.
"""

import argparse
import contextlib
import importlib.util
import io
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from convbench.lipschitz import lipschitz_lower_jacobian, local_jacobian_norms
from convbench.models import MODELS
from convbench.models.standardize import Classifier, Standardize
from convbench.norms import NORMS

Row = Callable[[nn.Module, Tensor], float]


def loop(model: nn.Module, images: Tensor) -> float:
    """One image at a time, as the definition reads."""
    largest = 0.0
    for image in images:
        jacobian = torch.autograd.functional.jacobian(model, image[None])
        assert isinstance(jacobian, Tensor)
        largest = max(largest, float(torch.linalg.svdvals(jacobian.flatten(3).reshape(-1, image.numel()))[0]))
    return largest


def one_by_one(model: nn.Module, images: Tensor) -> float:
    """Our own rows, without batches."""
    return float(local_jacobian_norms(model, images, batch_size=1).max())


def whole(model: nn.Module, images: Tensor) -> float:
    """Every Jacobian whole."""
    return lipschitz_lower_jacobian(model, images, screen=False).value


def screened(model: nn.Module, images: Tensor) -> float:
    """As a user calls it."""
    return lipschitz_lower_jacobian(model, images).value


def torchlip(model: nn.Module, images: Tensor) -> float:
    """deel-torchlip's local Jacobians."""
    from deel.torchlip.utils import evaluate_lip_const  # pyright: ignore[reportMissingImports]  # optional, by hand

    with contextlib.redirect_stdout(io.StringIO()):  # it prints every value
        return max(evaluate_lip_const(model, part, "jacobian_norm") for part in images.split(32))


def network_and_images(run: Path | None, count: int) -> tuple[nn.Module, Tensor]:
    """A trained run with its test images, or a ResNet-20 after a warm-up on noise, with noise."""
    if run is not None:
        from convbench import load_checkpoint
        from convbench.batches import to_unit
        from convbench.subject import subject_of_run

        subject = subject_of_run(load_checkpoint(run), "best")
        arrays = subject.load("test", count)
        return subject.network.eval(), to_unit(torch.from_numpy(arrays.images).permute(0, 3, 1, 2).contiguous())
    torch.manual_seed(0)
    network = Classifier(Standardize((0.5,) * 3, (0.25,) * 3), MODELS.build("resnet20", NORMS.build("bn"), 10))
    for _ in range(3):
        network(torch.rand(64, 3, 32, 32))
    return network.eval(), torch.rand(count, 3, 32, 32)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--reference-images", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, images = network_and_images(options.run, options.images)
    few = images[: options.reference_images]
    rows: dict[str, tuple[Row, Tensor]] = {"loop": (loop, few), "rows, one image at a time": (one_by_one, few)}
    if importlib.util.find_spec("deel") is not None:
        rows["deel-torchlip"] = (torchlip, few)
    rows |= {"rows, batches": (whole, images), "lipschitz_lower_jacobian": (screened, images)}
    seconds = dict.fromkeys(rows, float("inf"))
    found: dict[str, float] = {}
    for _ in range(options.repeats):
        for name, (row, over) in rows.items():
            start = time.process_time()
            found[name] = row(model, over)
            seconds[name] = min(seconds[name], (time.process_time() - start) * len(images) / len(over))
    truth = {len(few): whole(model, few), len(images): found["rows, batches"]}  # float64 at the winning image
    print(f"{len(images)} images, ResNet-20, {options.run or 'noise'}; torch {torch.__version__}, {platform.machine()}")
    print(f"{'':28}{'CPU s':>8}{'ratio':>8}{'error':>10}")
    for name, (_, over) in rows.items():
        ratio, error = seconds["loop"] / seconds[name], found[name] / truth[len(over)] - 1
        print(f"{name:28}{seconds[name]:8.1f}{ratio:8.2f}{error:10.1e}")


if __name__ == "__main__":
    main()
