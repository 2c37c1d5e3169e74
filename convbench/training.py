"""train(config) -> Checkpoint: one loop, straight down, that a kill at any moment does not harm.

SGD with momentum and clipped gradients; the learning rate is a pure function of the step; every random choice comes
from a stream keyed by (seed, epoch). So an epoch depends only on the state at its start, and a resumed run ends with
the same bits.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from convbench.batches import Batches
from convbench.checkpoint import (
    Checkpoint,
    build_run_model,
    data_facts,
    load_checkpoint,
    read_state,
    write_state,
    write_weights,
)
from convbench.config import TrainConfig
from convbench.errors import CheckpointError, ConfigError, ConvbenchError
from convbench.files import only_writer, write_atomically, write_json
from convbench.history import EpochLog, format_history
from convbench.models.loading import conversion_report
from convbench.names import resolved
from convbench.norms import penalties
from convbench.optimization import learning_rate, parameter_groups
from convbench.runtime import conditions, deterministic, private_rng, resolve_precision, select_device
from convbench.spectral.tracking import SpectrumTracker, format_tracked
from convbench.training_data import TrainingData, load_training_data
from corruptions import MISSING


@dataclass(frozen=True)
class Progress:
    """Where training stands after a step."""

    epoch: int  # from 1
    step: int  # finished, over all epochs
    steps: int  # in all
    loss: float  # mean over the epoch so far
    accuracy: float
    images_per_second: float


def train(
    config: TrainConfig,
    *,
    out: Path | str = "runs",
    folder: Path | str | None = None,
    device: str = "auto",
    on_start: Callable[[Path], None] | None = None,
    on_step: Callable[[Progress], None] | None = None,
    on_epoch: Callable[[EpochLog], None] | None = None,
) -> Checkpoint:
    """Train the network of `config` in its run folder, or finish what a killed run began there.

    Args:
        out: the parent of run folders.
        folder: the run folder itself; default `out`/`config.run_id`.
        on_start: called with the run folder before the first step.

    Returns:
        The finished checkpoint; at once where the folder holds it already.

    Raises:
        ConvbenchError: bad config or data, a folder in use, or a loss that is no longer finite.
    """
    config = resolved(config)
    folder = Path(folder) if folder is not None else Path(out) / config.run_id
    run = Checkpoint(folder, config)
    with only_writer(folder):
        _check_same_run(run)
        if run.complete:
            return run
        data = load_training_data(config)
        if on_start is not None:
            on_start(folder)
        where = select_device(device)
        with deterministic(where):
            _Training(run, data, where).run(on_step, on_epoch)
    return run


def _check_same_run(run: Checkpoint) -> None:
    if not (run.folder / "config.json").exists():
        write_json(run.folder / "config.json", run.config.to_dict())
        return
    found = load_checkpoint(run.folder).config
    if found.run_id != run.run_id:
        raise CheckpointError(f"{run.folder} holds another run, {found.run_id}; choose another --out.")


class _Training:
    """The state of one training run, and its loop."""

    def __init__(self, run: Checkpoint, data: TrainingData, device: torch.device) -> None:
        config = run.config
        self.run_folder, self.config, self.device = run.folder, config, device
        self.precision = resolve_precision(config.precision, device)
        facts = data_facts(config, data.train)
        model = build_run_model(config, facts["classes"], facts["channels"], facts["mean"], facts["std"])
        # Convolution kernels of the CPU and of CUDA's tensor cores read channels_last without reordering.
        self.model = model.to(device=device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  # overload gap
        self.penalties = penalties(self.model)
        self.batches = Batches(data.train, config.batch_size, device, channels_last=True)
        self.validation = Batches(data.validation, max(config.batch_size, 256), device, channels_last=True)
        self.optimizer = torch.optim.SGD(
            parameter_groups(self.model, config.weight_decay), lr=config.lr, momentum=config.momentum
        )
        self.crop = "crop" in config.augment or config.augment == "auto"
        self.flip = "flip" in config.augment or (config.augment == "auto" and data.train.flip)
        noise = data.label_noise
        self.some_missing = noise is not None and noise.noise.kept < len(data.train)
        self.history: list[EpochLog] = []
        self.tracker = None
        if config.track_spectrum:
            height, width, channels = facts["image_shape"]
            self.tracker = SpectrumTracker(self.model, (channels, height, width), seed=config.seed)
        self.record: dict[str, Any] = {
            "run_id": run.run_id,
            "complete": False,
            "data": facts | {"fingerprint": data.fingerprint, "train": len(data.train)},
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "conditions": conditions(device, precision=self.precision),
        }
        report = conversion_report(config.model, config.norm)
        if report is not None:
            write_atomically(run.folder / "conversion.md", report.markdown())
        if noise is not None:
            noise.write(run.folder)
            self.record["label_noise"] = noise.brief
        self._resume(run.record)
        write_json(run.folder / "run.json", self.record)

    def _resume(self, before: dict[str, Any]) -> None:
        path = self.run_folder / "state.pt"
        if not path.exists():
            return
        found = before.get("data", {}).get("fingerprint")
        if found != self.record["data"]["fingerprint"]:
            raise CheckpointError(f"cannot resume {self.run_folder}: the training data have changed since it began.")
        state = read_state(path)
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.history = [EpochLog(**log) for log in state["history"]]
            if self.tracker is not None and "spectrum" in state:
                self.tracker.load_state(state["spectrum"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise CheckpointError(f"cannot resume from {path}: {reason}.") from error

    def run(self, on_step: Callable[[Progress], None] | None, on_epoch: Callable[[EpochLog], None] | None) -> None:
        if self.tracker is not None and not self.history:
            self.tracker.measure(0)
        for epoch in range(len(self.history) + 1, self.config.epochs + 1):
            log = self._epoch(epoch, on_step)
            self.history.append(log)
            if self.tracker is not None:
                self.tracker.measure(epoch)
            self._save(log)
            if on_epoch is not None:
                on_epoch(log)
        best = self._best()
        self.record |= {
            "complete": True,
            "best_epoch": best.epoch,
            "best_validation_accuracy": best.validation_accuracy,
            "train_seconds": sum(log.seconds for log in self.history),
        }
        write_json(self.run_folder / "run.json", self.record)
        (self.run_folder / "state.pt").unlink(missing_ok=True)

    def _epoch(self, epoch: int, on_step: Callable[[Progress], None] | None) -> EpochLog:
        config, began = self.config, time.perf_counter()
        steps, seen, labelled, lr = self.batches.steps(), 0, 0, config.lr
        loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        penalty_sum = torch.zeros_like(loss_sum)
        correct = torch.zeros((), dtype=torch.int64, device=self.device)
        self.model.train()
        # Dropout draws from torch's global generator; the block seeds it and gives it back as it was.
        with private_rng("train", config.seed, epoch, device=self.device):
            batches = self.batches.epoch(config.seed, epoch, crop=self.crop, flip=self.flip)
            for step, (images, labels) in enumerate(batches):
                done = (epoch - 1) * steps + step
                seen += len(labels)
                kept = int((labels != MISSING).sum()) if self.some_missing else len(labels)
                if kept == 0:
                    continue  # nothing to learn from: the mean loss over no label is not a number
                lr = learning_rate(done / steps, config)
                for group in self.optimizer.param_groups:
                    group["lr"] = lr
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
                    logits = self.model(images) if done else self._first_logits(images)
                    loss = F.cross_entropy(logits.float(), labels, label_smoothing=config.label_smoothing)
                objective = loss
                if self.penalties:  # outside autocast: squares of small differences, which 16 bits do not hold
                    penalty = torch.stack([each() for each in self.penalties]).sum()
                    objective = loss + penalty
                    penalty_sum += penalty.detach().double() * kept
                self.optimizer.zero_grad(set_to_none=True)
                objective.backward()
                self._check_finite(objective, epoch, step)
                if config.clip_norm > 0:
                    torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
                self.optimizer.step()
                loss_sum += loss.detach().double() * kept  # cross_entropy is the mean over the labels that are there
                correct += (logits.detach().argmax(dim=1) == labels).sum()
                labelled += kept
                if on_step is not None:
                    speed = seen / (time.perf_counter() - began)
                    total = steps * config.epochs
                    on_step(
                        Progress(epoch, done + 1, total, loss_sum.item() / labelled, correct.item() / labelled, speed)
                    )
        train_seconds = time.perf_counter() - began
        validation_loss, validation_accuracy = self._validate()
        self._check_weights(epoch)
        return EpochLog(
            epoch=epoch,
            lr=lr,
            train_loss=loss_sum.item() / max(labelled, 1),
            train_accuracy=correct.item() / max(labelled, 1),
            validation_loss=validation_loss,
            validation_accuracy=validation_accuracy,
            seconds=time.perf_counter() - began,
            images_per_second=seen / train_seconds,
            penalty=penalty_sum.item() / max(labelled, 1),
        )

    def _first_logits(self, images: torch.Tensor) -> torch.Tensor:
        """Those of the first step, where a network shows whether it takes such batches."""
        try:
            return self.model(images)
        except (RuntimeError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            shape = "×".join(map(str, images.shape[1:]))
            raise ConfigError(
                f"{self.config.model} with norm {self.config.norm!r} does not train on batches of {len(images)} "
                f"images of {shape}: {reason}"
            ) from error

    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        self.model.eval()
        loss = correct = 0.0
        for images, labels in self.validation.in_order():
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
                logits = self.model(images).float()
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            correct += (logits.argmax(dim=1) == labels).sum().item()
        return loss / len(self.validation), correct / len(self.validation)

    def _check_finite(self, loss: torch.Tensor, epoch: int, step: int) -> None:
        if not math.isfinite(loss.item()):
            raise self._diverged(f"the loss is {loss.item()} at epoch {epoch}, step {step + 1}")

    def _check_weights(self, epoch: int) -> None:
        for name, tensor in self.model.state_dict().items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise self._diverged(f"{name} is not finite after epoch {epoch}")

    def _diverged(self, what: str) -> ConvbenchError:
        kept = "no epoch was finished, so there are no weights to keep"
        if self.history:
            kept = f"the weights of epoch {len(self.history)} are kept in {self.run_folder}"
        return ConvbenchError(
            f"training diverged: {what} (lr {self.config.lr:g}); {kept}. "
            "Try a lower --lr, a longer --warmup-epochs, or a normalization."
        )

    def _best(self) -> EpochLog:
        # A tie goes to the later epoch: its learning rate is lower.
        return max(self.history, key=lambda log: (log.validation_accuracy, log.epoch))

    def _save(self, log: EpochLog) -> None:
        # The state goes last: a kill before it repeats this epoch, and writes the same files again.
        if log is self._best():
            write_weights(self.run_folder / "best.safetensors", self.model)
        write_weights(self.run_folder / "last.safetensors", self.model)
        write_atomically(self.run_folder / "history.csv", format_history(self.history))
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": [asdict(log) for log in self.history],
        }
        if self.tracker is not None:
            write_atomically(self.run_folder / "spectrum_history.csv", format_tracked(self.tracker.rows))
            state["spectrum"] = self.tracker.state()
        write_state(self.run_folder / "state.pt", state)
