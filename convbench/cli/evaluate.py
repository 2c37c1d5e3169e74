"""`convbench evaluate`: a network under corruptions, its spectral norms and Lipschitz bounds, into results.csv."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from convbench.cli.options import ConfigFile, Device, Quiet, from_config, parse_value
from convbench.config import EvalConfig, TrainConfig, slug
from convbench.errors import ConfigError

RUNS = Path("runs")


@from_config(EvalConfig)
def evaluate(
    run: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN", help="Run folders. [default: the newest under runs/]", show_default=False),
    ] = None,
    *,
    settings: dict[str, Any],
    every: Annotated[bool, typer.Option("--all", help="Every run under runs/.")] = False,
    model: Annotated[
        str | None,
        typer.Option("--model", help="A model of your own: file.py:factory, torchvision:<name> or timm:<name>."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Its weights: .safetensors, .pt, .pth or .bin.")
    ] = None,
    norm: Annotated[str, typer.Option("--norm", help="Normalization that --model is built with.")] = "native",
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            help=f"Data set of --model [default: {TrainConfig.dataset}]; or another one to measure runs on, as "
            "cifar10.1 for cifar10, into <run>/on-<dataset>/.",
            show_default=False,
        ),
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option("--data-dir", help="Folder of the official files: read only, no download.")
    ] = None,
    image_size: Annotated[int, typer.Option("--image-size", help="Side of folder: images; 0 = 224.")] = 0,
    mean: Annotated[str, typer.Option("--mean", help="What --model's input was standardized with.")] = "",
    std: Annotated[str, typer.Option("--std", help="What --model's input was standardized with.")] = "",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where results.csv of --model goes. [default: runs/<its id>]", show_default=False),
    ] = None,
    shard: Annotated[
        str, typer.Option("--shard", metavar="I/N", help="Measure the I-th of N parts; `convbench merge` joins them.")
    ] = "1/1",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Throw away results of other settings in the same folder.")
    ] = False,
    device: Device = "auto",
    quiet: Quiet = False,
    config: ConfigFile = None,
) -> None:
    """Measure a network clean and corrupted, with its layer norms and Lipschitz bounds.

    Conditions that are in results.csv already are kept; only missing ones are measured.
    """
    wanted, part = EvalConfig.from_dict(settings), _shard(shard)
    foreign = TrainConfig(
        dataset=dataset or TrainConfig.dataset,
        data_dir=data_dir,
        image_size=image_size,
        model=model or TrainConfig.model,
        norm=norm,
        mean=parse_value("--mean", mean, tuple[float, ...]),
        std=parse_value("--std", std, tuple[float, ...]),
    )
    if (model is None) != (weights is None):
        raise ConfigError("--model and --weights go together: a model of your own needs both.")
    if model is not None and (run or every):
        raise ConfigError("give either run folders or a --model, not both.")
    folders = [] if model is not None else _folders(run or [], every)
    # Imports stand in the body from here on: torch costs seconds that --help and a usage error must not.
    from convbench.checkpoint import load_checkpoint
    from convbench.cli.progress import EvaluationProgress
    from convbench.cli.tables import print_results
    from convbench.names import resolved_evaluation
    from convbench.results import evaluate_to
    from convbench.subject import measured_on, subject_of_model, subject_of_run

    wanted = resolved_evaluation(wanted)

    def measure(folder: Path | None, subject: Any) -> None:
        where = folder or RUNS / subject.run_id
        with EvaluationProgress(quiet=quiet) as progress:
            results = evaluate_to(
                where, subject, wanted, device=device, overwrite=overwrite, watcher=progress, shard=part
            )
            for note in results.notes:
                progress.log(f"note: {note}")
        print_results(results)

    if weights is not None:
        measure(out, subject_of_model(foreign, weights))
    for folder in folders:
        checkpoint = load_checkpoint(folder)
        if not checkpoint.complete and not quiet:
            print(f"note: the training of {folder} is not finished; these are its weights so far.", file=sys.stderr)
        subject = measured_on(
            subject_of_run(checkpoint, wanted.checkpoint), dataset, data_dir=data_dir, image_size=image_size
        )
        # Numbers on other data than the run's own go into a folder of their own, so that neither replaces the other.
        own = subject.dataset == checkpoint.config.dataset
        measure(folder if own else folder / f"on-{slug(subject.dataset)}", subject)


def _shard(text: str) -> tuple[int, int]:
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ConfigError(f"--shard takes I/N with 1 <= I <= N, as 2/4; got {text!r}.")
    return int(number), int(count)


def _folders(given: list[Path], every: bool) -> list[Path]:
    """The run folders that were named; else all under runs/, or the newest."""
    if given and every:
        raise ConfigError("give either run folders or --all, not both.")
    if given:
        return given
    trained = [config.parent for config in RUNS.glob("*/config.json")]
    found = sorted(trained, key=lambda folder: ((folder / "config.json").stat().st_mtime_ns, folder.name))
    if not found:
        raise ConfigError(f"there is no run under {RUNS}/. Make one with: convbench train")
    return found if every else found[-1:]
