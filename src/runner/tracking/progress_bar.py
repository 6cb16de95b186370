"""A progress bar on the terminal."""

import time
from collections.abc import Mapping

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from runner.tracking.console import console

NARROW = 80  # characters; a terminal with fewer has no room for the accuracy


class ProgressBar:
    """Show the step, the latest training loss and accuracy, and samples per second.

    Args:
        total_steps: number of steps of the run.
        samples: number of samples per step.
    """

    def __init__(self, total_steps: int, samples: int) -> None:
        self.samples = samples
        self.progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            BarColumn(),  # the only column that shrinks on a narrow terminal
            TextColumn("{task.fields[latest]}"),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            console=console,
            transient=True,
            refresh_per_second=4,
        )
        self.task = self.progress.add_task("steps", total=total_steps, latest="", speed="")
        self.progress.start()
        self._shown = self._started = time.monotonic()
        self._first: int | None = None

    def advance(self, step: int) -> None:
        """Move the bar to a step, at most ten times a second."""
        now = time.monotonic()
        if now - self._shown > 0.1:
            self._shown = now
            self._first = step if self._first is None else self._first
            speed = self.samples * (step - self._first) / (now - self._started)
            self.progress.update(self.task, completed=step, speed=f"{speed:,.0f} samples/s")

    def show(self, values: Mapping[str, float]) -> None:
        """Show the training loss and accuracy, if they are among the scalars."""
        shown = ("loss", "accuracy") if console.width >= NARROW else ("loss",)
        known = [f"{name} {values[f'train/{name}']:.4g}" for name in shown if f"train/{name}" in values]
        if known:
            self.progress.update(self.task, latest="  ".join(known))

    def close(self) -> None:
        self.progress.stop()
