"""Record the metrics of a run in TensorBoard, metrics.csv, results.json, the log and a progress bar."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from runner.tracking.console import console
from runner.tracking.event_file import EventFile
from runner.tracking.events import event, events, logged
from runner.tracking.metrics_csv import MetricsCsv
from runner.tracking.profile import Profile
from runner.tracking.progress_bar import ProgressBar
from runner.tracking.recorded import events_folder
from runner.tracking.results import Results
from runner.tracking.rewind import appended_files
from runner.training.parts import Parts
from runner.training.state import TrainState

log = logging.getLogger("runner")
BINS = 30  # per histogram


class Tracker:
    """Record the metrics of a run.

    Args:
        folder: run folder.
        parts: parts of the run; the config decides where metrics are recorded.
        results: results.json of the run.
    """

    def __init__(self, folder: Path, parts: Parts, results: Results) -> None:
        self.folder, self.parts, self.results = folder, parts, results
        metrics = [f"{split}/{name}" for split in ("train", "val") for name in parts.metric_set.names]
        trainer = parts.config.trainer
        self.csv = MetricsCsv(folder, ["epoch", "step", *metrics, "lr", "seconds"])
        self.board = EventFile(events_folder(folder)) if parts.config.logger.name == "tensorboard" else None
        self.bar = (
            ProgressBar(parts.total_steps, parts.train.size * trainer.accumulate) if console.is_terminal else None
        )
        self.profile = Profile(folder / "profile", parts.device) if trainer.profile else None

    def describe(self, texts: Mapping[str, str], hyperparameters: Mapping[str, Any]) -> None:
        """Add a description of the run to TensorBoard, and histograms of the initial weights.

        Args:
            texts: texts by tag.
            hyperparameters: values to show in the HPARAMS tab.
        """
        if self.board is not None:
            self.weights(0)
            for tag, text in texts.items():
                self.board.text(tag, text)
            metrics = [f"{split}/{name}" for split in ("test", "val", "train") for name in self.parts.metric_set.names]
            self.board.hparams(hyperparameters, metrics)

    def positions(self) -> dict[str, int]:
        """Return the length of each appended file by its path in the run folder, after flushing it."""
        if self.board is not None:
            self.board.flush()
        return {str(path.relative_to(self.folder)): path.stat().st_size for path in appended_files(self.folder)}

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Record scalars by tag."""
        if self.board is not None:
            self.board.scalars(values, step)
        if self.bar is not None:
            self.bar.show(values)

    def epoch(self, row: Mapping[str, float], state: TrainState) -> None:
        """Record the end of an epoch: its row in metrics.csv, its line in the log, and the state in results.json."""
        self.csv.write(row)
        if others := rarely_logged(self.parts, row):
            self.scalars(others, state.step)
        self.results.progress(state, self.parts)
        line = epoch_line(row, with_lr=self.parts.config.scheduler.name != "constant")
        log.info("%s", line, extra=logged("epoch", **row))

    def saved(self, state: TrainState) -> None:
        """Record in results.json the state of the checkpoint that is being written."""
        self.results.progress(state, self.parts)
        events.write(event("saving", epoch=state.epoch, step=state.step, best=self.results.values["best"]))

    def weights(self, step: int) -> None:
        """Add a histogram of each parameter to TensorBoard."""
        if self.board is None:
            return
        for name, parameter in self.parts.eval_model.named_parameters():
            if parameter.numel() == 0:
                continue
            values = parameter.detach().flatten().float().cpu()
            low, high = values.min().item(), values.max().item()
            edges = torch.linspace(low, high if high > low else low + 1e-6, BINS + 1)
            counts = torch.histc(values, BINS, edges[0].item(), edges[-1].item())
            self.board.histogram(f"weights/{name}", counts.tolist(), edges.tolist(), step)

    def pictures(self, step: int) -> None:
        """Add the images in the folder plots/ to TensorBoard."""
        if self.board is not None:
            for path in sorted((self.folder / "plots").glob("*.png")):
                self.board.picture(f"plots/{path.stem}", path.read_bytes(), step)

    def progress(self, step: int) -> None:
        """Advance the progress bar and the profile by a step."""
        if self.bar is not None:
            self.bar.advance(step)
        if self.profile is not None:
            self.profile.step()

    def close(self) -> None:
        for part in (self.profile, self.bar, self.board):
            if part is not None:
                part.close()


def rarely_logged(parts: Parts, row: Mapping[str, float]) -> dict[str, float]:
    """Return the training metrics of an epoch that the loop does not log every few steps, by tag."""
    cheap = ("loss", *parts.metric_set.sums)
    tags = [f"train/{name}" for name in parts.metric_set.names if name not in cheap]
    return {tag: row[tag] for tag in tags if tag in row}


class NullTracker:
    """Record nothing; used on all ranks but rank 0."""

    def scalars(self, values: Mapping[str, float], step: int) -> None: ...
    def progress(self, step: int) -> None: ...
    def epoch(self, row: Mapping[str, float], state: TrainState) -> None: ...
    def saved(self, state: TrainState) -> None: ...
    def positions(self) -> dict[str, int]:
        return {}


def epoch_line(row: Mapping[str, float], with_lr: bool = True) -> str:
    """Return a log line such as `epoch  12  loss 0.1234 (val 0.15)  accuracy 0.9712 (val 0.95)  lr 0.01  0.1 s`.

    Args:
        row: row of metrics.csv.
        with_lr: whether to include the learning rate; without it the line fits 80 columns.
    """
    parts = [f"epoch {row['epoch']:>3}"]
    for name in dict.fromkeys(key.split("/")[1] for key in row if "/" in key):
        train, val = row.get(f"train/{name}"), row.get(f"val/{name}")
        parts.append(name + ("" if train is None else f" {train:.4g}") + ("" if val is None else f" (val {val:.4g})"))
    lr = [f"lr {row['lr']:.4g}"] if with_lr else []
    return "  ".join([*parts, *lr, f"{row['seconds']:.1f} s"])
