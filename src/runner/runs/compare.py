"""A comparison of runs: their metrics, and the config keys in which they differ."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from runner.errors import ConfigError, nearest
from runner.runs.found import Run, differing, typed_keys
from runner.runs.tables import REPEATS, Group, Outcome, columns, group_repeats, without
from runner.runs.verdict import groups as judged
from runner.runs.verdict.groups import Verdict
from runner.runs.verdict.judge import verdicts
from runner.runs.verdict.scores import Entry, mode_of
from runner.tracking.results import DONE

# fmt: off
MINOR = (  # prefixes of keys that do not change the result of a run; these are shown only if they were typed
    "logger.", "trainer.log_every", "trainer.profile", "trainer.eval_batch_size", "trainer.checkpoint.every_",
    "trainer.checkpoint.keep_last", "dataset.root", "dataset.workers", "dataset.in_memory", "dataset.cache",
    "optim.fused",
)
# fmt: on


class Comparison:
    """A comparison of runs: their rows, and the groups of runs that differ only in seed or fold.

    Args:
        runs: runs in the order of their rows.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = list(runs)
        self.keys = differing(run.config for run in self.runs if run.config)
        self.chosen: list[str] | None = None
        self.metric: str | None = None

    def row(self, run: Run, keys: Sequence[str] | None = None) -> dict[str, Any]:
        """Return a run's status, metrics, config values and seconds, by column.

        Args:
            run: run to show.
            keys: config keys to include; None for all in which the runs differ.
        """
        seconds = run.results.get("seconds", {}).get("total")
        own = {key: run.config[key] for key in (self.keys if keys is None else keys) if key in run.config}
        return {"run": run.name, "status": run.status, **run.metrics, **own, "seconds": seconds}

    def rows(self) -> list[dict[str, Any]]:
        """Return the row of each run, with all keys in which the runs differ."""
        return [self.row(run) for run in self.runs]

    def choose(self, names: Sequence[str]) -> None:
        """Choose the columns to show besides the name of each run.

        Args:
            names: columns of the table, or config keys.

        Raises:
            ConfigError: a column does not exist.
        """
        known = [*columns(self.rows()), *dict.fromkeys(key for run in self.runs for key in run.config)]
        for name in names:
            if name not in known:
                raise ConfigError(f"--columns: found {name!r}; {nearest(name, dict.fromkeys(known))}")
        self.chosen = list(names)

    def shown(self) -> list[dict[str, Any]]:
        """Return the rows with the chosen columns, or by default with the main keys."""
        if self.chosen is None:
            return [self.row(run, self.main_keys) for run in self.runs]
        rows = [{**run.config, **self.row(run)} for run in self.runs]
        return [{"run": row["run"], **{name: row.get(name) for name in self.chosen}} for row in rows]

    def complete(self) -> list[dict[str, Any]]:
        """Return the rows with the chosen columns, or by default with all keys in which the runs differ."""
        return self.rows() if self.chosen is None else self.shown()

    @cached_property
    def main_keys(self) -> list[str]:
        """The keys that were typed, and those that differ between runs with the same component.

        Values that differ only because another component was chosen, such as the default optim.lr of Adam, are not
        main keys.
        """
        configs = [run.config for run in self.runs if run.config]
        typed = {key for run in self.runs for key in typed_keys(run)}

        def differs_for_one_component(key: str) -> bool:
            if key.startswith(MINOR):
                return False
            component = f"{key.partition('.')[0]}.name"  # optim.name for optim.lr
            values: dict[Any, set[str]] = {}
            for config in configs:
                if key in config:
                    choice = config.get(component) if key != component else None
                    values.setdefault(choice, set()).add(json.dumps(config[key]))
            return any(len(each) > 1 for each in values.values())

        keys = [key for key in self.keys if key in typed or differs_for_one_component(key)]
        return sorted(keys, key=lambda key: (key in REPEATS, key not in typed))

    def groups(self) -> list[Group]:
        """Return the groups of runs that differ only in seed or fold, if more than one of them is done."""
        groups = group_repeats(
            Outcome(
                run.name, {key: run.config.get(key) for key in self.keys}, run.metrics if run.status in DONE else {}
            )
            for run in self.runs
        )
        return [group for group in groups if group.n > 1]

    def group_rows(self) -> list[dict[str, Any]]:
        """Return a row for each group: the number of runs, the means, and the main keys in which the groups differ."""
        groups = self.groups()
        keys = set(differing(group.keys for group in groups))
        return [
            {**without(group.row(), *group.keys), **{key: group.keys[key] for key in self.main_keys if key in keys}}
            for group in groups
        ]

    def choose_metric(self, name: str) -> None:
        """Choose the metric of the verdicts, such as test/accuracy.

        Raises:
            ConfigError: no run has it.
        """
        known: dict[str, None] = {}
        for run in self.runs:
            known |= dict.fromkeys([str((run.results.get("best") or {"metric": "val/loss"})["metric"])])
            parts = ((part, run.results.get(part) or {}) for part in ("val", "test", "train"))
            known |= dict.fromkeys(f"{part}/{key}" for part, values in parts for key in values)
        if name not in known:
            raise ConfigError(f"--metric: found {name!r}; {nearest(name, known)}")
        self.metric = name

    def entries(self) -> list[Entry]:
        """Return the runs as the verdicts compare them, without those whose config is damaged."""
        return [
            Entry(
                run.name,
                {key: run.config.get(key) for key in self.keys},
                run.config,
                run.status,
                run.results,
                run.raced,
            )
            for run in self.runs
            if run.config
        ]

    @cached_property
    def metrics(self) -> dict[str, bool]:
        """The columns with metrics, and whether more of each is better."""
        entries = self.entries()
        names = dict.fromkeys(name for run in self.runs for name in run.metrics)
        return {name: mode_of(name, entries) == "max" for name in names}

    def verdicts(self) -> list[Verdict]:
        """Return the verdict about the groups of runs on each dataset, that of the most runs first."""
        return [self.labeled(verdict) for verdict in verdicts(self.entries(), self.metric)]

    def labeled(self, verdict: Verdict) -> Verdict:
        """Return a verdict whose groups have only the main keys in which they differ, if these tell them apart."""
        keys = differing(group.values for group in verdict.groups)
        main = [key for key in self.main_keys if key in keys]
        labels = {json.dumps([group.values.get(key) for key in main], default=str) for group in verdict.groups}
        shown = main if len(labels) == len(verdict.groups) else keys

        def label(group: judged.Group) -> judged.Group:
            return replace(group, values={key: group.values.get(key) for key in shown})

        return replace(verdict, groups=[label(group) for group in verdict.groups])

    def sort(self, key: str | None) -> None:
        """Sort the runs by a column, the best first and empty cells last.

        Args:
            key: column; None for the first metric.

        Raises:
            ConfigError: the column does not exist.
        """
        rows = self.rows()
        names = columns(rows)
        if key is None:
            key = next((name for name in names if name.startswith("best ")), "run")
        if key not in names:
            raise ConfigError(f"--sort: found {key!r}; {nearest(key, names)}")
        sign = -1 if self.metrics.get(key) else 1

        def rank(run: Run) -> tuple[int, float, str]:
            value = self.row(run).get(key)
            if isinstance(value, int | float) and not math.isnan(value):
                return 0, sign * value, run.name
            return (2, 0.0, run.name) if value is None else (1, 0.0, str(value))

        self.runs.sort(key=rank)
