"""sweep(cells): train and evaluate what is missing of a grid, in a bounded pool of local processes.

One process per run: a run that dies (out of memory, killed) takes nothing with it but itself. Every run has its own
folder, so a sweep that was interrupted goes on by being started again.
"""

import itertools
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from convbench.config import EvalConfig, TrainConfig, takes_rate
from convbench.errors import ConfigError, ConvbenchError
from convbench.names import resolved, resolved_evaluation
from convbench.processors import available_cpus


@dataclass(frozen=True)
class Outcome:
    """How one run of a sweep ended."""

    config: TrainConfig
    folder: Path
    error: str = ""  # empty = trained and evaluated


@dataclass(frozen=True)
class Event:
    """What a run of a sweep says while it works."""

    run_id: str
    text: str
    done: float  # share of its work, in [0, 1]


def expand(axes: Mapping[str, Sequence[Any]]) -> list[TrainConfig]:
    """The grid of `axes` (field -> values): every combination once, names resolved, in a stable order.

    A label noise of rate 0 is no label noise, whatever its kind, so that "symmetric at 0 and 0.4" is two runs; one
    from a file has no rate, so that "symmetric and human:<file> at 0.4" is two as well.

    Raises:
        ConfigError: an unknown field, name or option, or a value out of range, in any cell.
    """
    configs: dict[str, TrainConfig] = {}
    for values in itertools.product(*axes.values()):
        cell = dict(zip(axes, values, strict=True))
        if (kind := cell.get("label_noise", "")) and not takes_rate(kind):
            cell["label_noise_rate"] = 0.0
        elif not cell.get("label_noise_rate", TrainConfig.label_noise_rate):
            cell["label_noise"] = ""
        config = resolved(TrainConfig.from_dict(cell))
        configs.setdefault(config.run_id, config)
    return list(configs.values())


def default_workers(runs: int) -> int:
    """Processes at once: one per processor that is ours, and one alone where a GPU does the work."""
    import torch

    return 1 if torch.cuda.is_available() else max(1, min(runs, available_cpus()))


def sweep(
    configs: Iterable[TrainConfig],
    evaluation: EvalConfig,
    *,
    out: Path | str = "runs",
    workers: int = 0,
    device: str = "auto",
    on_event: Callable[[Event], None] | None = None,
) -> Iterator[Outcome]:
    """Train and evaluate what is missing of `configs`; yield each run's outcome as it ends.

    A failed run does not stop the others.

    Args:
        workers: processes at once; 0 = one per core (one alone with a GPU). Threads are shared out between them.

    Raises:
        ConfigError: a name that does not exist, before any work.
    """
    evaluation = resolved_evaluation(evaluation)
    waiting = [resolved(config) for config in configs]
    if workers < 0:
        raise ConfigError(f"--workers must be at least 0, got {workers}.")
    workers = workers or default_workers(len(waiting))
    threads = max(1, available_cpus() // workers)
    context = multiprocessing.get_context("spawn")  # forking a process that has used torch's threads can hang
    running: dict[Connection, tuple[TrainConfig, BaseProcess]] = {}
    errors: dict[str, str] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                config = waiting.pop(0)
                receiver, sender = context.Pipe(duplex=False)
                arguments = (config, evaluation, Path(out), device, threads, sender)
                process = context.Process(target=_work, args=arguments, daemon=True)
                process.start()
                sender.close()  # ours; the child keeps its own, so that its death ends the pipe
                running[receiver] = (config, process)
            for receiver in wait(list(running)):
                assert isinstance(receiver, Connection)
                config, process = running[receiver]
                try:
                    kind, text, done = receiver.recv()
                except EOFError:
                    process.join()
                    del running[receiver]
                    yield _outcome(config, Path(out), process, errors.get(config.run_id))
                    continue
                if kind == "error":
                    errors[config.run_id] = text
                elif kind == "done":
                    errors[config.run_id] = ""
                elif on_event is not None:
                    on_event(Event(config.run_id, text, done))
    finally:
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.join()


def _outcome(config: TrainConfig, out: Path, process: BaseProcess, error: str | None) -> Outcome:
    if error is None:
        code = process.exitcode or 0
        error = f"its process was killed by signal {-code}" if code < 0 else f"its process ended with code {code}"
    return Outcome(config, out / config.run_id, error)


def _work(
    config: TrainConfig, evaluation: EvalConfig, out: Path, device: str, threads: int, sender: Connection
) -> None:
    """One run in its own process: train, evaluate, say how it went."""
    import signal
    import traceback

    import torch

    from convbench.results import evaluate_to
    from convbench.subject import subject_of_run
    from convbench.training import train

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; it terminates this process
    torch.set_num_threads(threads)

    train_share = 0.7  # of a run's time, roughly; the rest is evaluation

    def say(text: str, done: float) -> None:
        sender.send(("event", text, done))

    try:
        run = train(
            config,
            out=out,
            device=device,
            on_epoch=lambda log: say(
                f"epoch {log.epoch}/{config.epochs}, validation {log.validation_accuracy:.1%}",
                train_share * log.epoch / config.epochs,
            ),
        )
        watcher = _EvaluationEvents(say, train_share)
        evaluate_to(run.folder, subject_of_run(run, evaluation.checkpoint), evaluation, device=device, watcher=watcher)
        sender.send(("done", "", 1.0))
    except ConvbenchError as error:
        sender.send(("error", str(error), 1.0))
    except Exception:
        sender.send(("error", "internal error: " + traceback.format_exc().strip().splitlines()[-1], 1.0))
        traceback.print_exc()


class _EvaluationEvents:
    """Turns the steps of an evaluation into events, one each tenth."""

    def __init__(self, say: Callable[[str, float], None], begin: float) -> None:
        self.say, self.begin = say, begin
        self.cells, self.begun, self.tenth = 1, 0, -1

    def start(self, cells: int, images: int) -> None:
        self.cells = cells

    def cell(self, cell: object, cached: bool) -> None:
        tenth = self.begun * 10 // self.cells
        if tenth != self.tenth:
            self.tenth = tenth
            share = self.begun / self.cells
            self.say(f"evaluating {cell}", self.begin + (1 - self.begin) * share)
        self.begun += 1

    def images(self, done: int) -> None:
        pass
