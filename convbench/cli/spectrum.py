"""`convbench spectrum`: the singular values of every layer of runs or of a model, as table, CSV and figures."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convbench.cli.options import Quiet
from convbench.config import BUDGETS, CHECKPOINTS
from convbench.errors import ConfigError, ConvbenchError

if TYPE_CHECKING:
    from torch import nn

    from convbench.network_spectra import NetworkSpectra

_FORMATS = ("png", "svg")
Source = tuple[str, str, "int | None", "nn.Module", tuple[int, int, int], "Path | None"]


def spectrum(
    networks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN|MODEL",
            help="Run folders, or one model: a registered name, file.py:factory, torchvision:<name> or timm:<name>. "
            "[default: every trained run under runs/]",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Weights of MODEL: .safetensors, .pt, .pth or .bin. Else random.")
    ] = None,
    norm: Annotated[
        str | None, typer.Option("--norm", help="Normalization that MODEL is built with.", show_default=False)
    ] = None,
    classes: Annotated[int, typer.Option("--classes", help="Classes of MODEL.")] = 10,
    channels: Annotated[int, typer.Option("--channels", help="Channels of MODEL's images: 1 or 3.")] = 3,
    image_size: Annotated[
        int, typer.Option("--image-size", help="Side of MODEL's images; 0 = 32, or 224 for torchvision: and timm:.")
    ] = 0,
    checkpoint: Annotated[str, typer.Option("--checkpoint", help="Weights of a RUN: best, last.")] = "best",
    budget: Annotated[
        str, typer.Option("--spectral-budget", help="fast, or exact: smallest singular values of large layers too.")
    ] = "fast",
    layers: Annotated[str, typer.Option("--layers", help="Pattern of layer names, as 'stages.1*'.")] = "*",
    table_only: Annotated[
        bool, typer.Option("--table-only", help="No singular values and no figures: the table and layers.csv.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", help="Folder of the CSV files and figures.")] = Path("spectrum"),
    image_format: Annotated[str, typer.Option("--format", help="Of the figures: png, svg.")] = "png",
    quiet: Quiet = False,
) -> None:
    """Show the singular values of every layer as it is applied, with certificates; alone and with its normalization.

    Writes layers.csv, singular_values.csv, and figures: singular values per layer, norms along the depth, and, of runs
    trained with --track-spectrum, norms through training.
    """
    for flag, value, allowed in (
        ("--spectral-budget", budget, BUDGETS), ("--checkpoint", checkpoint, CHECKPOINTS),
        ("--format", image_format, _FORMATS),
    ):  # fmt: skip
        if value not in allowed:
            raise ConfigError(f"{flag} must be one of {', '.join(allowed)}, got {value!r}.")
    folders, model = _sort(networks or [])
    if model is None and (weights is not None or norm is not None):
        raise ConfigError("--weights and --norm belong to a MODEL; run folders have their own.")
    for flag, number, allowed in (("--classes", classes, classes >= 1), ("--channels", channels, channels in (1, 3)),
                                  ("--image-size", image_size, image_size >= 0)):  # fmt: skip
        if not allowed:
            raise ConfigError(f"{flag} {number} is out of its range.")
    # Imports stand in the body from here on: torch costs seconds that --help and a usage error must not.
    from convbench.cli.progress import EvaluationProgress
    from convbench.cli.spectrum_table import print_spectra
    from convbench.files import write_atomically
    from convbench.network_spectra import NetworkSpectra, layers_csv, measure_spectra, read_tracked, values_csv

    if model is not None:
        sources = [_model_source(model, weights, norm, classes, channels, image_size)]
    else:
        sources = [_run_source(folder, checkpoint) for folder in folders]
    found: list[NetworkSpectra] = []
    for label, (name, own_norm, seed, network, shape, folder) in zip(_labels(sources), sources, strict=True):
        with EvaluationProgress(quiet=quiet, doing=label) as progress:
            try:
                rows, values = measure_spectra(
                    network, shape, budget=budget, pattern=layers, with_values=not table_only,
                    on_layer=_announcing(progress),
                )  # fmt: skip
            except ConvbenchError as error:
                if len(sources) == 1:
                    raise
                progress.log(f"note: {name} is left out: {error}")
                continue
        tracked = read_tracked(folder / "spectrum_history.csv") if folder is not None else ()
        found.append(NetworkSpectra(label, own_norm, seed, shape, rows, values, tracked))
    if not found:
        raise ConfigError("no network was left to show.")
    print_spectra(found)
    written = [out / "layers.csv"]
    write_atomically(out / "layers.csv", layers_csv(found))
    if not table_only:
        write_atomically(out / "singular_values.csv", values_csv(found))
        written += [out / "singular_values.csv", *_draw(found, out, image_format)]
    print("\n".join(map(str, written)))


def _draw(found: "list[NetworkSpectra]", out: Path, image_format: str) -> list[Path]:
    from convbench.plots import save_figure
    from convbench.plots.singular_values import depth_figure, spectra_figure, training_figure

    figures = {"singular_values": spectra_figure, "depth": depth_figure, "training": training_figure}
    written = []
    for name, draw in figures.items():
        figure = draw(found)
        if figure is not None:
            written.append(out / f"{name}.{image_format}")
            save_figure(figure, written[-1])
    return written


def _sort(arguments: list[str]) -> tuple[list[Path], str | None]:
    """Run folders, or a model."""
    if not arguments:
        folders = _runs_in(Path("runs"))
        if not folders:
            raise ConfigError("there is no trained run under runs/. Make one with: convbench train")
        return folders, None
    given = [Path(argument) for argument in arguments if Path(argument).is_dir()]
    folders = [run for folder in given for run in _runs_in(folder) or [folder]]
    models = [argument for argument in arguments if not Path(argument).is_dir()]
    if models and (folders or len(models) > 1):
        raise ConfigError(f"give run folders, or one model; {models[0]!r} is no folder.")
    return folders, models[0] if models else None


def _runs_in(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/best.safetensors"))


def _run_source(folder: Path, which: str) -> "Source":
    from convbench.checkpoint import load_checkpoint

    run = load_checkpoint(folder)
    network = run.load_model(which)
    height, width, channels = run.record["data"]["image_shape"]
    return run.run_id, run.config.norm, run.config.seed, network, (channels, height, width), folder


def _model_source(
    name: str, weights: Path | None, norm: str | None, classes: int, channels: int, image_size: int
) -> "Source":
    from convbench.models.loading import NATIVE, build_model
    from convbench.models.user_file import is_user_file
    from convbench.models.weights import load_weights

    from_a_zoo = name.startswith(("torchvision:", "timm:"))
    norm = norm or (NATIVE if from_a_zoo or is_user_file(name) else "bn")
    network = build_model(name, norm, classes, channels)
    if weights is not None:
        load_weights(network, weights)
    else:
        print("note: no --weights: these are the layers of an untrained network.", file=sys.stderr)
    side = image_size or (224 if from_a_zoo else 32)
    return name, norm, None, network.eval(), (channels, side, side), None


def _labels(sources: "list[Source]") -> list[str]:
    """The shortest names that tell the networks apart: the norm, with the seed, or the run."""
    candidates = (
        [norm for _, norm, *_ in sources],
        [norm if seed is None else f"{norm}, seed {seed}" for _, norm, seed, *_ in sources],
        [name for name, *_ in sources],
    )
    if len(sources) == 1:
        return [sources[0][0]]
    return next((names for names in candidates if len(set(names)) == len(names)), candidates[-1])


def _announcing(progress: object) -> Callable[[int, int, str], None]:
    """Passes over the layers as one bar each."""
    started: list[int] = []

    def on_layer(done: int, total: int, name: str) -> None:
        if not started or done == 0:
            started.append(total)
            progress.start(total, 1)  # pyright: ignore[reportAttributeAccessIssue]  # an EvaluationProgress, which rich makes
        if name:
            progress.cell(name, cached=False)  # pyright: ignore[reportAttributeAccessIssue]  # as above

    return on_layer
