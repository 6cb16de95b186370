"""Any runs and sweeps in one table: what they differ in, and what came of each."""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from runner.errors import ConfigError, nearest
from runner.results import DONE, FILE, read_results
from runner.settings import flatten
from runner.tables import Group, Outcome, as_csv, columns, group_repeats, markdown_table, text_table
from runner.yaml_file import read_yaml

NOT_TOLD = ("name", "output_dir", "dry_run", "plugins", "sweep.", "device.threads")  # they change no result
MORE_IS_BETTER = ("accuracy", "r2")
FORMATS = ("table", "csv", "md", "json", "html")


@dataclass(frozen=True)
class Run:
    """A run folder, as far as it can be read.

    Args:
        name: its path, from the folder that all have in common.
        config: flat; empty where config.yaml is missing or damaged.
    """

    folder: Path
    name: str
    status: str
    config: Mapping[str, Any]
    results: Mapping[str, Any]

    @property
    def metrics(self) -> dict[str, float]:
        """The best value of the metric that was watched, and the metrics of the test split."""
        best = self.results.get("best") or {}
        found = {f"best {best['metric']}": best["value"]} if best.get("value") is not None else {}
        test = self.results.get("test") or {}
        return found | {f"test/{name}": value for name, value in test.items() if value is not None}


class Comparison:
    """Runs side by side.

    Args:
        runs: in the order of their rows.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = list(runs)
        self.keys = differing(run.config for run in self.runs if run.config)

    def row(self, run: Run) -> dict[str, Any]:
        seconds = (run.results.get("seconds") or {}).get("total")
        own = {key: run.config[key] for key in self.keys if key in run.config}
        return {"run": run.name, "status": run.status, **own, **run.metrics, "seconds": seconds}

    def rows(self) -> list[dict[str, Any]]:
        return [self.row(run) for run in self.runs]

    def groups(self) -> list[Group]:
        """Runs that differ only in seed or fold, together; none where there are no such."""
        groups = group_repeats(
            Outcome(
                run.name, {key: run.config.get(key) for key in self.keys}, run.metrics if run.status in DONE else {}
            )
            for run in self.runs
        )
        return groups if any(len(group.names) > 1 for group in groups) else []

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

    def text(self, kind: str) -> str:
        """The whole comparison as `table`, `csv`, `md`, `json` or `html`."""
        rows, groups = self.rows(), [group.row() for group in self.groups()]
        if kind == "csv":
            return as_csv(rows)
        if kind == "json":
            runs = [{**row, "metrics": run.metrics} for row, run in zip(rows, self.runs, strict=True)]
            values = {"schema": 1, "keys": self.keys, "runs": runs, "groups": [asdict(g) for g in self.groups()]}
            return json.dumps(values, indent=2) + "\n"
        if kind == "html":
            from runner.page import page

            return page(self)
        title = "Runs that differ only in seed or fold, as mean ± standard deviation:"
        if kind == "md":
            return "\n\n".join([markdown_table(rows), *([title, markdown_table(groups)] if groups else [])]) + "\n"
        return "\n".join([*text_table(rows), *(["", title, *text_table(groups)] if groups else [])]) + "\n"


def find_runs(folders: Iterable[Path]) -> list[Run]:
    """The runs in folders: each may be a run's, a sweep's, or hold any of them, however deep.

    Raises:
        ConfigError: a folder is not there, or holds no run.
    """
    found: dict[Path, None] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no such folder")
        runs = list(_walk(folder.absolute()))
        if not runs:
            raise ConfigError(f"{folder}: holds no runs: no folder in it has a {FILE} or a config.yaml")
        found |= dict.fromkeys(runs)
    common = _common(list(found))
    return [read_run(folder, str(folder.relative_to(common))) for folder in found]


def _walk(folder: Path) -> Iterator[Path]:
    if (folder / FILE).exists() or (folder / "config.yaml").exists():
        yield folder
        return
    for each in sorted(folder.iterdir()):
        if each.is_dir() and not each.is_symlink() and not each.name.startswith("."):
            yield from _walk(each)


def _common(folders: Sequence[Path]) -> Path:
    """The deepest folder that holds them all."""
    parents = [set(folder.parents) for folder in folders]
    return max(set.intersection(*parents), key=lambda folder: len(folder.parts))


def read_run(folder: Path, name: str) -> Run:
    """A run folder, whatever state it is in."""
    results = read_results(folder)
    try:
        values = read_yaml(folder / "config.yaml")
        config = flatten(values) if isinstance(values, dict) else {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        config = {}
    status = str(results.get("status", "damaged: no results.json")) if config else "damaged: no config.yaml"
    told = {key: value for key, value in config.items() if not key.startswith(NOT_TOLD)}
    return Run(folder, name, status, told, results)


def differing(configs: Iterable[Mapping[str, Any]]) -> list[str]:
    """The keys whose values are not the same in all configs."""
    configs = list(configs)
    keys = dict.fromkeys(key for config in configs for key in config)
    return [key for key in keys if len({json.dumps(config.get(key, "")) for config in configs}) > 1]


def curves(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """The columns of metrics.csv against the epoch; none where it cannot be read."""
    found: dict[str, list[tuple[float, float]]] = {}
    try:
        with (folder / "metrics.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                for name, text in row.items():
                    if name.startswith(("train/", "val/")) and text and math.isfinite(float(text)):
                        found.setdefault(name, []).append((float(row["epoch"]), float(text)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return found


def summary(comparison: Comparison) -> str:
    """A line on how many runs there are, of which status."""
    found = [run.status for run in comparison.runs]
    return ", ".join(f"{found.count(status)} {status}" for status in dict.fromkeys(sorted(found)))
