"""Find the runs below folders, and read their configs and results."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from runner.config.schema import flatten
from runner.config.yaml_file import read_yaml
from runner.errors import ConfigError
from runner.tracking.results import FILE, read_results

IGNORED = ("name", "output_dir", "dry_run", "plugins", "sweep.", "device.threads")  # keys that do not change results


@dataclass(frozen=True)
class Run:
    """A run folder, as far as it can be read.

    Args:
        folder: run folder.
        name: path relative to the deepest common folder of all runs.
        status: status in results.json, or which file is damaged.
        config: config values by dotted key, without those that do not change results; empty if config.yaml is damaged.
        results: contents of results.json; empty if it is damaged.
    """

    folder: Path
    name: str
    status: str
    config: Mapping[str, Any]
    results: Mapping[str, Any]

    @property
    def metrics(self) -> dict[str, float]:
        """The best value of the metric that chose the checkpoint, and the metrics of the test split."""
        best = self.results.get("best") or {}
        found = {f"best {best['metric']}": best["value"]} if best.get("value") is not None else {}
        test = self.results.get("test") or {}
        return found | {f"test/{name}": value for name, value in test.items() if value is not None}


def typed_keys(run: Run) -> Iterator[str]:
    """Yield the config key of each override of a run: `optim.lr` for `optim.lr=0.1`, `optim.name` for `optim=adam`."""
    overrides = run.results.get("overrides")
    for text in overrides if isinstance(overrides, list) else []:
        key = str(text).lstrip("+~").partition("=")[0]
        yield key if key in run.config else f"{key}.name"


def find_runs(folders: Iterable[Path]) -> list[Run]:
    """Return the runs in folders, at any depth.

    Args:
        folders: run folders, sweep folders, or folders that contain them.

    Raises:
        ConfigError: a folder does not exist or contains no run.
    """
    found: dict[Path, None] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no such folder")
        runs = list(_walk(folder.absolute()))
        if not runs:
            raise ConfigError(f"{folder}: contains no runs: no folder in it has a {FILE} or a config.yaml")
        found |= dict.fromkeys(runs)
    common = _common_parent(list(found))
    return [read_run(folder, str(folder.relative_to(common))) for folder in found]


def _walk(folder: Path) -> Iterator[Path]:
    if (folder / FILE).exists() or (folder / "config.yaml").exists():
        yield folder
        return
    for each in sorted(folder.iterdir()):
        if each.is_dir() and not each.is_symlink() and not each.name.startswith("."):
            yield from _walk(each)


def _common_parent(folders: Sequence[Path]) -> Path:
    """Return the deepest folder that contains all the given ones."""
    parents = [set(folder.parents) for folder in folders]
    return max(set.intersection(*parents), key=lambda folder: len(folder.parts))


def read_run(folder: Path, name: str) -> Run:
    """Read a run folder in any state."""
    results = read_results(folder)
    try:
        values = read_yaml(folder / "config.yaml")
        config = flatten(values) if isinstance(values, dict) else {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        config = {}
    damaged = f"damaged: {FILE}" if (folder / FILE).exists() else f"damaged: no {FILE}"
    status = results.get("status", damaged) if config else "damaged: no config.yaml"
    relevant = {key: value for key, value in config.items() if not key.startswith(IGNORED)}
    return Run(folder, name, status, relevant, results)


def differing(configs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the keys whose values are not the same in all configs."""
    configs = list(configs)
    keys = dict.fromkeys(key for config in configs for key in config)
    return [key for key in keys if len({json.dumps(config.get(key, "")) for config in configs}) > 1]
