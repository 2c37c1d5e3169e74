"""`convbench preview`: a contact sheet of images × corruptions × severities."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convbench.cli.options import Quiet, from_config, parse_value
from convbench.config import EvalConfig, TrainConfig
from convbench.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

_CONDITIONS = ("corruptions", "severities", "corruption_profile", "corruption_engine", "seed")


@from_config(EvalConfig, only=_CONDITIONS, defaults={"corruptions": "common", "severities": "1,3,5"})
def preview(
    pictures: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PICTURE",
            help="Picture files instead of a data set, corrupted at their own size.",
            show_default=False,
        ),
    ] = None,
    *,
    settings: dict[str, Any],
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset", help=f"Data set, or folder:<path>. [default: {TrainConfig.dataset}]", show_default=False
        ),
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option("--data-dir", help="Folder of the official files: read only, no download.")
    ] = None,
    image_size: Annotated[
        int, typer.Option("--image-size", help="Side of folder: images or pictures; 0 = 224, pictures their own size.")
    ] = 0,
    split: Annotated[str, typer.Option("--split", help="Split of the data set.")] = "test",
    images: Annotated[
        int | None, typer.Option("--images", help="Show the first N images. [default: 1]", show_default=False)
    ] = None,
    index: Annotated[
        str | None, typer.Option("--index", metavar="<list>", help="Show the images at these positions: 0,5,7.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", help="The sheet, .png or .svg; replaced if it exists, as every figure is.")
    ] = Path("preview.png"),
    quiet: Quiet = False,
) -> None:
    """Draw a contact sheet of images under corruptions, pixel by pixel.

    The image at position i is corrupted exactly as `evaluate` and `corrupt` do it with the same seed.
    """
    wanted = EvalConfig(**settings, split=split)
    if images is not None and index is not None:
        raise ConfigError("give either --images or --index, not both.")
    if images is not None and images < 1:
        raise ConfigError(f"--images must be at least 1, got {images}.")
    if pictures and (dataset or data_dir or images or index is not None):
        raise ConfigError("picture files and a data set contradict each other: leave out one of the two.")
    if out.suffix.lower() not in (".png", ".svg"):
        raise ConfigError(f"a figure is written as .png or .svg, not {out.name!r}.")
    if any(out.exists() and picture.exists() and out.samefile(picture) for picture in pictures or []):
        raise ConfigError(f"--out {out} is one of the pictures; give it another name.")
    positions = range(images or 1) if index is None else parse_value("--index", index, tuple[int, ...])
    # Imports stand in the body from here on: torch costs seconds that --help and a usage error must not.
    from convbench.names import canonical_dataset, resolved_corruptions

    names = in_official_order(resolved_corruptions(wanted.corruptions))
    if not names:
        raise ConfigError("--corruption needs at least one corruption to show.")
    if pictures:
        # Every picture is the first image of its own: what else is on the sheet does not change it.
        shown = [(0, path.name, _read_picture(path, image_size)) for path in pictures]
        called = ", ".join(path.name for path in pictures) if len(pictures) <= 3 else f"{len(pictures)} pictures"
        title, source = f"Corruptions of {called}", ""
    else:
        name = canonical_dataset(dataset or TrainConfig.dataset)
        shown = _read_images(name, split, positions, data_dir=data_dir, image_size=image_size)
        title = f"Corruptions of {name}"
        source = f"{name}, {split} split, index {', '.join(str(i) for i, _, _ in shown)}"
    _draw(shown, names, sorted(set(wanted.severities)), wanted, title=title, source=source, out=out, quiet=quiet)
    print(out)


def in_official_order(names: tuple[str, ...]) -> list[str]:
    """The corruptions in the order of ImageNet-C, so that each group stands together; others as asked, after them."""
    import corruptions

    official = corruptions.names()
    return sorted(names, key=lambda name: official.index(name) if name in official else len(official))


def _read_picture(path: Path, image_size: int) -> "np.ndarray":
    """uint8 (H, W, 3), turned upright as its EXIF says; with `image_size` prepared as folder: images are."""
    import numpy as np
    from PIL import ImageOps

    from convbench.datasets.image_folder import centre_crop, open_image

    if image_size < 0:
        raise ConfigError(f"--image-size must be at least 0, got {image_size}.")
    pixels = ImageOps.exif_transpose(open_image(path))
    return centre_crop(pixels, image_size) if image_size else np.array(pixels)


def _read_images(dataset: str, split: str, positions: Any, **load: Any) -> "list[tuple[int, str, np.ndarray]]":
    """Position, words and pixels of the images at `positions`."""
    from convbench.datasets import load_dataset

    arrays = load_dataset(dataset, split, **load)
    outside = [i for i in positions if not 0 <= i < len(arrays)]
    if outside or not positions:
        found = f"there is no image {outside[0]}" if outside else "no image was asked for"
        raise ConfigError(f"{found}: the {split} split of {dataset} has the images 0 to {len(arrays) - 1}.")
    return [(i, f"image {i} · class {arrays.classes[arrays.labels[i]]}", arrays.images[i]) for i in positions]


def _draw(
    shown: "list[tuple[int, str, np.ndarray]]",
    names: list[str],
    severities: list[int],
    wanted: EvalConfig,
    *,
    title: str,
    source: str,
    out: Path,
    quiet: bool,
) -> None:
    from convbench.cli.progress import EvaluationProgress
    from convbench.generated_images import resolve_generator
    from convbench.plots.contact_sheet import Picture, compose_sheet, reduction, sheet_figure
    from convbench.plots.style import save_figure

    engine, profile = wanted.corruption_engine, wanted.corruption_profile
    generators = [
        resolve_generator(engine, profile, wanted.seed, (pixels.shape[0], pixels.shape[1]), names)
        for _, _, pixels in shown
    ]
    used = [f"engine/profile {generator.name}" for generator in generators]
    sizes = [_size(pixels, reduction(pixels)) for _, _, pixels in shown]
    # What all images share stands in the caption, what differs over each block.
    shared = [facts[0] if len(set(facts)) == 1 else "" for facts in (sizes, used)]
    blocks = []
    for (_, words, pixels), *facts in zip(shown, sizes, used, strict=True):
        own = [fact for fact, common in zip(facts, shared, strict=True) if not common]
        blocks.append(Picture(" · ".join([words, *own]), pixels))
    caption = [" · ".join(filter(None, line)) for line in ((source, shared[0]), (shared[1], f"seed {wanted.seed}"))]
    with EvaluationProgress(quiet=quiet, doing="corrupting") as progress:
        progress.start(len(blocks) * len(names) * len(severities), 1)

        def corrupted(place: int, name: str, severity: int) -> "np.ndarray":
            progress.cell(f"{name}, severity {severity}", cached=False)
            position, _, pixels = shown[place]
            (image,) = generators[place].corrupt(pixels[None], name, severity, [position])
            return image

        sheet = compose_sheet(blocks, names, severities, corrupted, title=title, caption=caption)
    save_figure(sheet_figure(sheet), out)


def _size(pixels: "np.ndarray", divisor: int) -> str:
    height, width = pixels.shape[:2]
    return f"{width} × {height} px" + (f", shown at 1/{divisor}" if divisor > 1 else "")
