"""The score of a run for a verdict, and which runs may be compared: those on the same data and by the same metric."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runner.config.metric_mode import Mode, usual_mode
from runner.runs.tables import REPEATS, without

# Keys of a dataset that change how its samples are fed to a model, but not which samples are in which split.
SAME_DATA = (
    *("dataset.augment", "dataset.transforms", "dataset.cache", "dataset.in_memory", "dataset.workers"),
    *("dataset.repeat", "dataset.size", "dataset.fit", "dataset.shorter_side", "dataset.standardize_targets"),
)
PLACES = ("dataset.root", "dataset.path")  # the last part of the path identifies a user's own data


@dataclass(frozen=True)
class Entry:
    """A run to be compared with others.

    Args:
        name: name of the run.
        keys: values of the config keys in which the compared runs differ.
        config: config values by dotted key.
        status: status of the run.
        results: contents of results.json.
        raced: whether the run belongs to a race.
    """

    name: str
    keys: Mapping[str, Any]
    config: Mapping[str, Any]
    status: str
    results: Mapping[str, Any]
    raced: bool = False

    def value(self, key: str) -> Any:
        """Return the value of a config key."""
        return self.keys.get(key, self.config.get(key))

    @property
    def chosen_by(self) -> tuple[str, Mode]:
        """The metric that chose the best checkpoint, and its mode."""
        best, mode = self.results.get("best") or {}, self.config.get("trainer.checkpoint.mode")
        return str(
            best.get("metric") or self.config.get("trainer.checkpoint.metric")
        ), "max" if mode == "max" else "min"

    @property
    def stated(self) -> list[tuple[str, Mode]]:
        """The metrics whose mode the config states, with their modes."""
        if self.config.get("trainer.early_stopping.patience") is None:
            return [self.chosen_by]
        metric, mode = (self.config.get(f"trainer.early_stopping.{key}") for key in ("metric", "mode"))
        return [self.chosen_by, (str(metric), "max" if mode == "max" else "min")]

    def score(self, metric: str) -> float | None:
        """Return the value of a metric; NaN if the run diverged, None if it has not completed or has no such metric.

        A run that was stopped early by comparison with others does not count: it was not stopped at random.
        """
        if self.status == "diverged":
            return math.nan
        if self.status != "completed":
            return None
        best, (part, _, name) = self.results.get("best") or {}, metric.partition("/")
        values = self.results.get(part) or {}
        if best.get("metric") == metric:
            value = best["value"]
        elif name in values:
            value = values[name]
        else:
            return None
        return float(value) if value is not None and math.isfinite(value) else math.nan  # JSON has null for NaN

    def data(self) -> dict[str, Any]:
        """Return the config values that identify the data and its splits."""
        found = {}
        for key, value in self.config.items():
            if not key.startswith("dataset.") or key in REPEATS or key.startswith(SAME_DATA):
                continue
            if key in PLACES and value is not None:
                own = key == "dataset.path" or self.config.get("dataset.name") == "image_folder"
                value = str(value).rstrip("/").rpartition("/")[2] if own else None
            found[key] = value
        return found

    def block(self, by_fold: bool) -> str:
        """Return what a run shares with those of other groups that it is paired with.

        Args:
            by_fold: whether the runs differ in the fold; then the seeds of one fold are averaged.
        """
        keys = ("dataset.seed", "dataset.fold") if by_fold else ("seed", "dataset.seed")
        return json.dumps([self.value(key) for key in keys])

    def group(self) -> str:
        """Return what is the same for all runs that differ only in seed or fold."""
        return json.dumps(without(self.keys, *REPEATS), sort_keys=True, default=str)


def mode_of(metric: str, entries: Iterable[Entry]) -> Mode:
    """Return whether less or more of a metric is better: as the config of a run states, else by its name.

    Args:
        metric: metric of any split, such as test/f1.
        entries: runs to compare; the first one whose config states the mode of the metric decides.
    """
    name = metric.rpartition("/")[2]
    for entry in entries:
        for stated, mode in entry.stated:
            if stated.rpartition("/")[2] == name:
                return mode
    return usual_mode(name)
