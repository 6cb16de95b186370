"""Asynchronous successive halving (ASHA): stop jobs of a sweep that have fallen behind the jobs before them.

After min_epochs * reduction**k epochs, for k = 0, 1, ..., a job reaches a rung. It continues only if it is among the
best 1/reduction of itself and the earlier jobs of the sweep that reach this rung. It waits until each of them has
reached the rung or has ended. Therefore the decisions are those of a sweep that runs one job at a time, whichever job
is faster. A job waits only for earlier ones, so the first job that has not ended never waits.

Source:
    Li et al., "A System for Massively Parallel Hyperparameter Tuning" (2020), in the variant that stops jobs rather
    than pausing them. There, a job is compared with all jobs that happen to have reached the rung before it.
"""

import csv
import json
import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from runner.config.schema import Config
from runner.config.yaml_file import read_yaml
from runner.machine.files import write_atomically
from runner.sweep.jobs import FILE, Job, Sweep
from runner.tracking.metrics_csv import FILE as METRICS

ROSTER = ".jobs.json"  # in the sweep folder, while its driver runs: for each job in order, whether it has not ended


def make_should_stop(config: Config, folder: Path, waits: bool = False) -> Callable[[int], bool | None] | None:
    """Return the function that decides after each epoch whether ASHA stops a run; None if it is off.

    Args:
        config: config of the run.
        folder: run folder.
        waits: whether the run is a job of a sweep that runs on this machine, so that it can wait for earlier jobs.
    """
    rungs = Rungs.of(config, folder, waits)
    return None if rungs is None else rungs.is_behind


class Roster:
    """The file in which the driver of a sweep lists for its jobs which of them have not ended.

    Args:
        sweep: sweep whose jobs run on this machine.
    """

    def __init__(self, sweep: Sweep) -> None:
        self.path, self.jobs = sweep.folder / ROSTER, sweep.jobs
        self.used = sweep.settings.asha.min_epochs is not None
        self._left: set[str] | None = None

    def update(self, left: Iterable[Job]) -> None:
        """Write the file, if it has changed. If it cannot be written, delete it, so that no job waits for ended ones.

        Args:
            left: jobs that run, or are to run.
        """
        names = {job.folder for job in left}
        if not self.used or names == self._left:
            return
        try:
            write_atomically(self.path, json.dumps({job.folder: job.folder in names for job in self.jobs}))
            self._left = names
        except OSError:
            self.delete()

    def delete(self) -> None:
        """Delete the file, because no job is left to read it."""
        self._left = None
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


def read_roster(sweep: Path) -> dict[str, bool]:
    """Return for each job in order whether it has not ended; an empty dict if no driver has written the file."""
    try:
        return dict(json.loads((sweep / ROSTER).read_text("utf-8")))
    except (OSError, ValueError):
        return {}


@dataclass
class Rungs:
    """The rungs of a run, at which it is compared with earlier runs of its sweep by their metrics.csv.

    Args:
        folder: the run folder.
        metric: the metric to compare.
        mode: min or max.
        first: the epoch of the first rung.
        reduction: the ratio between the epochs of successive rungs.
        waits: whether the run waits for earlier ones that have not ended.
    """

    folder: Path
    metric: str
    mode: str
    first: int
    reduction: int
    waits: bool
    _reached: dict[tuple[str, int], float | None] = field(default_factory=dict, init=False)  # final once it is known

    @classmethod
    def of(cls, config: Config, folder: Path, waits: bool = False) -> "Rungs | None":
        """Return the rungs of a run; None if it does not belong to a sweep that uses ASHA."""
        asha, keep = config.sweep.asha, config.trainer.checkpoint
        if asha.min_epochs is None or not (folder.parent / FILE).is_file():
            return None
        return cls(folder, keep.metric, keep.mode, asha.min_epochs, asha.reduction, waits)

    @cached_property
    def earlier(self) -> list[str]:
        """The folders of the jobs before this one, in the order of the sweep."""
        sweep = self.folder.parent
        names = list(read_roster(sweep)) or [job["folder"] for job in read_yaml(sweep / FILE)["jobs"]]
        return names[: names.index(self.folder.name)] if self.folder.name in names else []

    def is_rung(self, epoch: int) -> bool:
        """Return whether the run reaches a rung at the end of an epoch."""
        distance = self.first
        while distance < epoch:
            distance *= self.reduction
        return distance == epoch

    def is_behind(self, epoch: int) -> bool | None:
        """Return whether the run, which has completed this epoch, has fallen behind; None if it has to wait."""
        if not self.is_rung(epoch):
            return False
        # Read the roster first: the metrics of a job that it lists as ended are complete.
        roster = read_roster(self.folder.parent) if self.waits else {}
        values = []
        for name in self.earlier:
            if self.has_reached(name, epoch):
                values.append(self._reached[name, epoch])
            elif roster.get(name):
                return None
        own = self._reached[self.folder.name, epoch] if self.has_reached(self.folder.name, epoch) else None
        if own is None:  # there was no validation yet, or metrics.csv cannot be read
            return False
        known = [value for value in values if value is not None]
        better = sum(value < own for value in known)
        return better >= max(1, (len(known) + 1) // self.reduction)

    def has_reached(self, name: str, epoch: int) -> bool:
        """Return whether a job has completed an epoch; its metric is then in `_reached`.

        It is that of the latest validation up to that epoch, as a penalty; None if there was no validation.
        """
        if (name, epoch) in self._reached:
            return True
        newest = ""
        try:
            for row in complete_rows(self.folder.parent / name / METRICS):
                newest = row.get(self.metric) or newest
                if row["epoch"] == str(epoch):
                    self._reached[name, epoch] = self.penalty(float(newest)) if newest else None
                    return True
        except (OSError, ValueError, KeyError, csv.Error):
            pass  # the file does not exist yet, or is damaged
        return False

    def penalty(self, value: float) -> float:
        """Return the metric so that less is better; infinity for NaN."""
        return math.inf if math.isnan(value) else -value if self.mode == "max" else value


def complete_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a metrics.csv, without the last one if it is still being written."""
    lines = path.read_text("utf-8").splitlines(keepends=True)
    return list(csv.DictReader(line for line in lines if line.endswith("\n")))
