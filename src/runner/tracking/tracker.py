"""Where a run's numbers go while it trains: TensorBoard, metrics.csv, a progress bar on a terminal, a profile.

On resume, files that grew after the checkpoint are cut back to the length they had then, so that every curve
continues in place: no step twice, no gap.
"""

import csv
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from runner.errors import ConfigError
from runner.machine.files import write_atomically
from runner.tracking.console import console
from runner.tracking.event_file import EventFile
from runner.tracking.graph import graph_of
from runner.tracking.profile import Profile
from runner.tracking.results import Results
from runner.training.metrics import NAMES
from runner.training.parts import Parts
from runner.training.state import TrainState

log = logging.getLogger("runner")
BUCKETS = 30


class Tracker:
    """Takes the run's numbers and hands them on.

    Args:
        folder: the run folder.
        parts: says what there will be to show.
        results: told of each epoch.
    """

    def __init__(self, folder: Path, parts: Parts, results: Results) -> None:
        self.folder, self.parts, self.results = folder, parts, results
        self.metrics = [f"{part}/{name}" for part in ("train", "val") for name in NAMES[parts.spec.task]]
        self.csv = Csv(folder / "metrics.csv", ["epoch", "step", *self.metrics, "lr", "seconds"])
        self.board = EventFile(folder / "tensorboard") if parts.config.logger.name == "tensorboard" else None
        self.bar = (
            Bar(parts.total_steps, parts.train.size * parts.config.trainer.accumulate) if console.is_terminal else None
        )
        self.profile = Profile(folder / "profile", parts.device) if parts.config.trainer.profile else None

    def describe(self, texts: Mapping[str, str], hyperparameters: Mapping[str, Any]) -> None:
        """What the run is: texts, the model's graph, its first weights, and the row of the HPARAMS tab."""
        if self.board is not None:
            try:
                self.board.graph(graph_of(self.parts.model, self.parts.spec.in_shape))
            except Exception:  # a picture is not worth a run
                log.warning("TensorBoard will have no graph of the model.", exc_info=True)
            self.weights(0)
            for tag, text in texts.items():
                self.board.text(tag, text)
            metrics = [f"{part}/{name}" for part in ("test", "val", "train") for name in NAMES[self.parts.spec.task]]
            self.board.hparams(hyperparameters, metrics)

    def positions(self) -> dict[str, int]:
        """The length of each file that grows, by its path within the run folder, all of it handed to the system."""
        if self.board is not None:
            self.board.flush()
        return {str(path.relative_to(self.folder)): path.stat().st_size for path in growing_files(self.folder)}

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """A point on each of some curves."""
        if self.board is not None:
            self.board.scalars(values, step)
        if self.bar is not None:
            self.bar.show(values)

    def epoch(self, row: Mapping[str, float], state: TrainState) -> None:
        """An epoch's row in metrics.csv, its line in the log, and the state in results.json."""
        self.csv.write(row)
        self.results.progress(state, self.parts)
        log.info("%s", epoch_line(row, with_rate=self.parts.config.scheduler.name != "constant"))

    def saved(self, state: TrainState) -> None:
        """Record the saved state in results.json."""
        self.results.progress(state, self.parts)

    def weights(self, step: int) -> None:
        """How the weights spread, for each parameter."""
        if self.board is None:
            return
        for name, parameter in self.parts.judged.named_parameters():
            if parameter.numel() == 0:
                continue
            values = parameter.detach().flatten().float().cpu()
            low, high = values.min().item(), values.max().item()
            edges = torch.linspace(low, high if high > low else low + 1e-6, BUCKETS + 1)
            counts = torch.histc(values, BUCKETS, edges[0].item(), edges[-1].item())
            self.board.histogram(f"weights/{name}", counts.tolist(), edges.tolist(), step)

    def pictures(self, step: int) -> None:
        """Shows the pictures of plots/ in TensorBoard too."""
        if self.board is not None:
            for path in sorted((self.folder / "plots").glob("*.png")):
                self.board.picture(f"plots/{path.stem}", path.read_bytes(), step)

    def progress(self, step: int) -> None:
        if self.bar is not None:
            self.bar.advance(step)
        if self.profile is not None:
            self.profile.step()

    def close(self) -> None:
        if self.profile is not None:
            self.profile.close()
        if self.bar is not None:
            self.bar.progress.stop()
        if self.board is not None:
            self.board.close()


class NullTracker:
    """Drop everything: for the ranks that train along with the one that tracks."""

    def scalars(self, values: Mapping[str, float], step: int) -> None: ...
    def progress(self, step: int) -> None: ...
    def epoch(self, row: Mapping[str, float], state: TrainState) -> None: ...
    def saved(self, state: TrainState) -> None: ...
    def positions(self) -> dict[str, int]:
        return {}


def growing_files(folder: Path) -> list[Path]:
    return [*folder.glob("metrics.csv"), *folder.glob("tensorboard/events.*")]


def refuse_links(folder: Path) -> None:
    """Refuse a run folder with symbolic links in it: through them a resumed run would write elsewhere.

    Raises:
        ConfigError: there is one.
    """
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in sorted([*folders, *files])):
            if path.is_symlink():
                raise ConfigError(
                    f"{path} is a symbolic link, to {path.readlink()}: refused: a resumed run would write through "
                    "it; put what it points to in its place, or remove it"
                )


def cut_back(folder: Path, positions: Mapping[str, int]) -> None:
    """Takes from each growing file what came after `positions` were noted."""
    for path in growing_files(folder):
        if path.is_symlink():
            continue
        length = positions.get(str(path.relative_to(folder)), 0)
        if length == 0:
            path.unlink()
        elif length < path.stat().st_size:
            descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
            try:
                os.ftruncate(descriptor, length)
            finally:
                os.close(descriptor)


def epoch_line(row: Mapping[str, float], with_rate: bool = True) -> str:
    """One line for a person: `epoch  12  loss 0.1234 (val 0.15)  accuracy 0.9712 (val 0.95)  lr 0.01  0.1 s`.

    Args:
        with_rate: whether the learning rate is in it; one that never changes only makes it too long for a terminal.
    """
    parts = [f"epoch {row['epoch']:>3}"]
    for name in dict.fromkeys(key.split("/")[1] for key in row if "/" in key):
        here, there = row.get(f"train/{name}"), row.get(f"val/{name}")
        parts.append(name + ("" if here is None else f" {here:.4g}") + ("" if there is None else f" (val {there:.4g})"))
    rate = [f"lr {row['lr']:.4g}"] if with_rate else []
    return "  ".join([*parts, *rate, f"{row['seconds']:.1f} s"])


class Csv:
    """A table with a row an epoch; numbers are written so that reading them gives back the same bits.

    The first row that is written replaces rows of the same epoch and later ones, which are from before a resume: a run
    that ended within an epoch has a row for it. When the table cannot be written it warns once; the training goes on.
    """

    def __init__(self, path: Path, columns: list[str]) -> None:
        self.path, self.columns = path, columns
        self._works, self._continues = True, path.exists()

    def write(self, row: Mapping[str, float]) -> None:
        try:
            if self._continues:
                self._drop_from(row["epoch"])
                self._continues = False
            with self.path.open("a", newline="") as file:
                writer = csv.DictWriter(file, self.columns)
                if file.tell() == 0:
                    writer.writeheader()
                writer.writerow(row)
        except (OSError, ValueError) as error:  # ValueError: it holds something else
            if self._works:
                log.warning("%s: cannot be written: %s; the training goes on", self.path, error)
            self._works = False

    def _drop_from(self, epoch: float) -> None:
        """Remove the rows of this epoch and later ones, and one that a crash or cut_back has torn."""
        head, *rows = self.path.read_bytes().splitlines(keepends=True) or [b""]
        kept = [row for row in rows if row.endswith(b"\n") and int(row.split(b",")[0]) < epoch]
        if len(kept) < len(rows):
            write_atomically(self.path, b"".join([head, *kept]))


class Bar:
    """A progress bar with the newest loss and accuracy."""

    def __init__(self, total_steps: int, samples: int) -> None:
        """Args: samples: of a step."""
        self.samples = samples
        self.progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[newest]}"),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            refresh_per_second=4,
        )
        self.task = self.progress.add_task("steps", total=total_steps, newest="", speed="")
        self.progress.start()
        self._shown = self._started = time.monotonic()
        self._first: int | None = None

    def advance(self, step: int) -> None:
        now = time.monotonic()
        if now - self._shown > 0.1:
            self._shown = now
            self._first = step if self._first is None else self._first
            speed = self.samples * (step - self._first) / (now - self._started)
            self.progress.update(self.task, completed=step, speed=f"{speed:,.0f} samples/s")

    def show(self, values: Mapping[str, float]) -> None:
        known = [f"{tag} {value:.4g}" for tag, value in values.items() if tag in ("train/loss", "train/accuracy")]
        if known:
            self.progress.update(self.task, newest="  ".join(known))
