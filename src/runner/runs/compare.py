"""Any runs and sweeps in one table: their results, and the keys in which they differ."""

import json
import math
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

from runner.errors import ConfigError, nearest
from runner.runs.found import Run, differing, typed_keys
from runner.runs.tables import (
    REPEATS,
    Group,
    Outcome,
    as_csv,
    columns,
    fitted_table,
    group_repeats,
    markdown_table,
    text_table,
    without,
)
from runner.tracking.results import DONE, as_json

MORE_IS_BETTER = ("accuracy", "r2")
MINOR = (  # they change no result either, but may be what was tried out
    *("logger.", "trainer.log_every", "trainer.profile", "trainer.eval_batch_size", "trainer.checkpoint.every_"),
    *("trainer.checkpoint.keep_last", "dataset.root", "dataset.workers", "dataset.in_memory", "optim.fused"),
)
REPEATED = "Runs that differ only in seed or fold, as mean ± standard deviation:"
FORMATS = ("table", "csv", "md", "json", "html")


class Comparison:
    """Runs side by side.

    Args:
        runs: in the order of their rows.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = list(runs)
        self.keys = differing(run.config for run in self.runs if run.config)
        self.chosen: list[str] | None = None

    def row(self, run: Run, keys: Sequence[str] | None = None) -> dict[str, Any]:
        """Return a run's results, and its values of these keys; by default of all in which runs differ."""
        seconds = run.results.get("seconds", {}).get("total")
        own = {key: run.config[key] for key in (self.keys if keys is None else keys) if key in run.config}
        return {"run": run.name, "status": run.status, **run.metrics, **own, "seconds": seconds}

    def rows(self) -> list[dict[str, Any]]:
        return [self.row(run) for run in self.runs]

    def choose(self, names: Sequence[str]) -> None:
        """Show these columns alone, beside the name of each run: columns of the table, or any key of the configs.

        Raises:
            ConfigError: there is no such column.
        """
        known = [*columns(self.rows()), *dict.fromkeys(key for run in self.runs for key in run.config)]
        for name in names:
            if name not in known:
                raise ConfigError(f"--columns: found {name!r}; {nearest(name, dict.fromkeys(known))}")
        self.chosen = list(names)

    def shown(self) -> list[dict[str, Any]]:
        """Return the rows with the chosen columns; by default with the keys that matter."""
        if self.chosen is None:
            return [self.row(run, self.matter) for run in self.runs]
        rows = [{**run.config, **self.row(run)} for run in self.runs]
        return [{"run": row["run"], **{name: row.get(name) for name in self.chosen}} for row in rows]

    @cached_property
    def matter(self) -> list[str]:
        """The differing keys that were typed, and those that say more than which components were chosen."""
        configs = [run.config for run in self.runs if run.config]
        typed = {key for run in self.runs for key in typed_keys(run)}

        def matters(key: str) -> bool:
            if key.startswith(MINOR):
                return False
            named = f"{key.partition('.')[0]}.name"  # optim.name, for optim.lr
            alike: dict[Any, set[str]] = {}
            for config in configs:
                if key in config:
                    alike.setdefault(config.get(named) if key != named else None, set()).add(json.dumps(config[key]))
            return any(len(values) > 1 for values in alike.values())

        keys = [key for key in self.keys if key in typed or matters(key)]
        return sorted(keys, key=lambda key: (key in REPEATS, key not in typed))

    def groups(self) -> list[Group]:
        """Return the runs that differ only in seed or fold, together, where more than one of them is done."""
        groups = group_repeats(
            Outcome(
                run.name, {key: run.config.get(key) for key in self.keys}, run.metrics if run.status in DONE else {}
            )
            for run in self.runs
        )
        return [group for group in groups if group.n > 1]

    def group_rows(self) -> list[dict[str, Any]]:
        """Return the groups as rows: how many runs, means, and the keys that matter and differ between groups."""
        groups = self.groups()
        keys = set(differing(group.keys for group in groups))
        return [
            {**without(group.row(), *group.keys), **{key: group.keys[key] for key in self.matter if key in keys}}
            for group in groups
        ]

    def sort(self, key: str | None) -> None:
        """Sorts by a column, the best first; by default by the first metric there is. Empty cells come last.

        Raises:
            ConfigError: there is no such column.
        """
        rows = self.rows()
        names = columns(rows)
        if key is None:
            key = next((name for name in names if name.startswith("best ")), "run")
        if key not in names:
            raise ConfigError(f"--sort: found {key!r}; {nearest(key, names)}")
        sign = -1 if key.endswith(MORE_IS_BETTER) else 1

        def rank(run: Run) -> tuple[int, float, str]:
            value = self.row(run).get(key)
            if isinstance(value, int | float) and not math.isnan(value):
                return 0, sign * value, run.name
            return (2, 0.0, run.name) if value is None else (1, 0.0, str(value))

        self.runs.sort(key=rank)

    def text(self, kind: str, width: int = 120) -> str:
        """Return the whole comparison as `table` of at most `width` columns, `csv`, `md`, `json` or `html`."""
        if kind == "csv":
            return as_csv(self.rows() if self.chosen is None else self.shown())
        if kind == "json":
            return as_json(self.as_json())
        if kind == "html":
            from runner.runs.page import page

            return page(self)
        return self.markdown() if kind == "md" else self.table(width)

    def as_json(self) -> dict[str, Any]:
        rows = self.rows() if self.chosen is None else self.shown()
        runs = [{**row, "metrics": run.metrics} for row, run in zip(rows, self.runs, strict=True)]
        return {"schema": 1, "keys": self.keys, "runs": runs, "groups": [asdict(group) for group in self.groups()]}

    def markdown(self) -> str:
        parts = [markdown_table(self.shown())]
        if groups := self.groups():
            names = [", ".join(group.names) for group in groups]
            rows = [{**row, "runs": runs} for row, runs in zip(self.group_rows(), names, strict=True)]
            parts += [REPEATED, markdown_table(rows)]
        return "\n\n".join(parts) + "\n"

    def table(self, width: int) -> str:
        """Return the runs, and below them the groups with the names of their runs."""
        if self.chosen is not None:
            return "\n".join(text_table(self.shown())) + "\n"
        lines, left_out = fitted_table(self.shown(), width)
        if left_out and all(run.status == "completed" for run in self.runs):
            lines, left_out = fitted_table([without(row, "status") for row in self.shown()], width)
        if groups := self.groups():
            rows = [{"group": number, **row} for number, row in enumerate(self.group_rows(), start=1)]
            table, more = fitted_table(rows, width)
            lines += ["", *textwrap.wrap(REPEATED, width), *table, ""]
            for number, group in enumerate(groups, start=1):
                lines += textwrap.wrap(f"{number}: {', '.join(group.names)}", width, subsequent_indent="   ")
            left_out = list(dict.fromkeys([*left_out, *more]))
        if left_out:
            note = f"{len(left_out)} columns left out, to choose: --columns KEY,... ("
            lines += ["", note + cut_list(left_out, width - len(note) - 1) + ")"]
        return "\n".join(lines) + "\n"


def cut_list(names: Sequence[str], width: int) -> str:
    """Return as many names as there is room for."""
    for count in range(len(names), 0, -1):
        text = ", ".join(names[:count]) + (", ..." if count < len(names) else "")
        if len(text) <= width:
            return text
    return "..."


def summary(comparison: Comparison) -> str:
    """A line on how many runs there are, of which status."""
    found = [run.status for run in comparison.runs]
    return ", ".join(f"{found.count(status)} {status}" for status in dict.fromkeys(sorted(found)))
