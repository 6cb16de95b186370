"""Asynchronous successive halving: stop jobs of a sweep that have fallen behind the others.

After min_epochs * reduction**k epochs, for k = 0, 1, ..., a job reaches a rung. It continues only if it is among the
best 1/reduction of the jobs that have reached this rung so far. No job waits for another.

Source:
    Li et al., "A System for Massively Parallel Hyperparameter Tuning" (2020), in the variant that stops jobs rather
    than pausing them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runner.config.schema import Config
from runner.sweep.jobs import FILE
from runner.tracking.metrics_csv import FILE as METRICS
from runner.tracking.metrics_csv import read_rows


def should_stop_in(config: Config, folder: Path) -> Callable[[int], bool] | None:
    """Return a function that decides after each epoch whether a run stops early; None without ASHA."""
    rungs = Rungs.of(config, folder)
    return None if rungs is None else rungs.is_behind


@dataclass(frozen=True)
class Rungs:
    """The rungs of a run, at which it is compared with the other runs of its sweep by their metrics.csv.

    Args:
        folder: the run folder.
        metric: the metric to compare.
        mode: min or max.
        first: the epoch of the first rung.
        reduction: the ratio between the epochs of successive rungs.
    """

    folder: Path
    metric: str
    mode: str
    first: int
    reduction: int

    @classmethod
    def of(cls, config: Config, folder: Path) -> "Rungs | None":
        """Return the rungs of a run; None if it does not belong to a sweep that uses ASHA."""
        asha, keep = config.sweep.asha, config.trainer.checkpoint
        if asha.min_epochs is None or not (folder.parent / FILE).is_file():
            return None
        return cls(folder, keep.metric, keep.mode, asha.min_epochs, asha.reduction)

    def is_rung(self, epoch: int) -> bool:
        """Return whether the run reaches a rung at the end of an epoch."""
        distance = self.first
        while distance < epoch:
            distance *= self.reduction
        return distance == epoch

    def is_behind(self, epoch: int) -> bool:
        """Return whether the run, which has completed this epoch, has fallen behind."""
        if not self.is_rung(epoch):
            return False
        own = self.value(self.folder, epoch)
        others = [self.value(table.parent, epoch) for table in self.folder.parent.glob(f"*/{METRICS}")]
        reached = [value for value in others if value is not None]
        if own is None:  # there was no validation yet, or metrics.csv cannot be read
            return False
        better = sum(value < own for value in reached)
        return better >= max(1, len(reached) // self.reduction)

    def value(self, folder: Path, epoch: int) -> float | None:
        """Return the latest metric of a run at the end of an epoch, negated if more is better, so that less is better.

        None if the run has not completed the epoch. If its row contains no validation, that of an earlier row counts.
        """
        newest = ""
        try:
            for row in read_rows(folder):
                newest = row.get(self.metric) or newest
                if row["epoch"] == str(epoch) and newest:
                    value = float(newest)
                    return math.inf if math.isnan(value) else -value if self.mode == "max" else value
        except (ValueError, KeyError):
            pass  # the file is being written or damaged: ignore the run until it can be read
        return None
