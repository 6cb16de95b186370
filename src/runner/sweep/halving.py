"""Asynchronous successive halving: a job of a sweep that has fallen behind the others ends, and frees its place.

Li et al., "A System for Massively Parallel Hyperparameter Tuning" (2020), in the variant that stops jobs rather than
pausing them: at rungs of min_epochs * reduction**k epochs a job goes on only when it is among the best one in
`reduction` of the jobs that have reached that rung so far. No job ever waits for another.
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
    """Return what decides after an epoch whether a run of a sweep is to stop; None where nothing does."""
    rungs = Rungs.of(config, folder)
    return None if rungs is None else rungs.is_behind


@dataclass(frozen=True)
class Rungs:
    """Compares a run with its siblings, by what they all write into metrics.csv.

    Args:
        folder: the run's, among those of the sweep.
        metric, mode: what is compared.
        first: epochs to the first rung. reduction: how many times as far each next one is.
    """

    folder: Path
    metric: str
    mode: str
    first: int
    reduction: int

    @classmethod
    def of(cls, config: Config, folder: Path) -> "Rungs | None":
        """Those of a run in a sweep that has some."""
        asha, keep = config.sweep.asha, config.trainer.checkpoint
        if asha.min_epochs is None or not (folder.parent / FILE).is_file():
            return None
        return cls(folder, keep.metric, keep.mode, asha.min_epochs, asha.reduction)

    def is_rung(self, epoch: int) -> bool:
        distance = self.first
        while distance < epoch:
            distance *= self.reduction
        return distance == epoch

    def is_behind(self, epoch: int) -> bool:
        """Whether the run, which has ended this epoch, is to end."""
        if not self.is_rung(epoch):
            return False
        own = self.value(self.folder, epoch)
        others = [self.value(table.parent, epoch) for table in self.folder.parent.glob(f"*/{METRICS}")]
        reached = [value for value in others if value is not None]
        if own is None:  # never validated, or its table cannot be read: nothing to compare
            return False
        better = sum(value < own for value in reached)
        return better >= max(1, len(reached) // self.reduction)

    def value(self, folder: Path, epoch: int) -> float | None:
        """Return the newest metric at the end of an epoch, so that less is better; None if the run is not there yet.

        A row without validation has no value; the one before it counts.
        """
        newest = ""
        try:
            for row in read_rows(folder):
                newest = row.get(self.metric) or newest
                if row["epoch"] == str(epoch) and newest:
                    value = float(newest)
                    return math.inf if math.isnan(value) else -value if self.mode == "max" else value
        except (ValueError, KeyError):
            pass  # being written, or damaged: it counts when it can be read
        return None
