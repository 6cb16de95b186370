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


def not_a_run(folder: Path) -> str:
    """Return why a folder is not a run folder, with the newest run below it if there is one."""
    if not folder.is_dir():
        return f"{folder}: not a run folder: there is no such folder"
    runs = [path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/{FILE}")]
    newest = max(runs, key=lambda run: run.stat().st_mtime, default=None)
    hint = "" if newest is None else f"; the newest run in it: {newest}"
    return f"{folder}: not a run folder: it has no config.yaml{hint}"


@dataclass(frozen=True)
class Run:
    """A run folder, as far as it can be read.

    Args:
        folder: run folder.
        name: path relative to the deepest common folder of all runs.
        status: status in results.json, or which file is damaged.
        config: config values by dotted key, without those that do not change results; empty if config.yaml is damaged.
        results: contents of results.json; empty if it is damaged.
        raced: whether the run belongs to a race.
    """

    folder: Path
    name: str
    status: str
    config: Mapping[str, Any]
    results: Mapping[str, Any]
    raced: bool = False

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
            raise ConfigError(f"{folder}: contains no runs: no folder in it has a {FILE}")
        found |= dict.fromkeys(runs)
    common = _common_parent(list(found))
    return [read_run(folder, str(folder.relative_to(common))) for folder in found]


def _walk(folder: Path) -> Iterator[Path]:
    # Other folders may also contain a config.yaml, such as conf/.
    if (folder / FILE).exists() or ((folder / "config.yaml").exists() and (folder / "checkpoints").exists()):
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
    results, config = read_results(folder), read_config(folder)
    damaged = f"damaged: {FILE}" if (folder / FILE).exists() else f"damaged: no {FILE}"
    status = results.get("status", damaged) if config else "damaged: no config.yaml"
    relevant = {key: value for key, value in config.items() if not key.startswith(IGNORED)}
    return Run(folder, name, status, relevant, results, config.get("sweep.race.max_seeds") is not None)


def read_config(folder: Path) -> dict[str, Any]:
    """Return the config of a run folder by dotted key; empty if it is damaged, or not the config of a run."""
    try:
        values = read_yaml(folder / "config.yaml")
        config = flatten(values) if isinstance(values, dict) else {}
        json.dumps(config)  # raises TypeError for values that no config of a run has, such as dates
    except (OSError, yaml.YAMLError, UnicodeDecodeError, TypeError):
        return {}
    return config


def differing(configs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the keys whose values are not the same in all configs."""
    configs = list(configs)
    keys = dict.fromkeys(key for config in configs for key in config)
    return [key for key in keys if len({json.dumps(config.get(key, "")) for config in configs}) > 1]
