"""The runs below some folders, as they are read for a comparison."""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from runner.config.schema import flatten
from runner.config.yaml_file import read_yaml
from runner.errors import ConfigError
from runner.tracking.results import FILE, read_results

NOT_TOLD = ("name", "output_dir", "dry_run", "plugins", "sweep.", "device.threads")  # they change no result


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


def typed_keys(run: Run) -> Iterator[str]:
    """Yield the keys of what was typed for a run; for the choice of a component its name."""
    overrides = run.results.get("overrides")
    for text in overrides if isinstance(overrides, list) else []:
        key = str(text).lstrip("+~").partition("=")[0]
        yield key if key in run.config else f"{key}.name"


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
    unread = f"damaged: {FILE}" if (folder / FILE).exists() else f"damaged: no {FILE}"
    status = results.get("status", unread) if config else "damaged: no config.yaml"
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
