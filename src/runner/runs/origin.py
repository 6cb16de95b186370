"""The directory in which a run was started, to which relative paths in its config refer."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from runner.config.schema import Config
from runner.errors import ConfigError

PATHS = ("root", "path", "cache")  # dataset keys


def started_in(folder: Path) -> Path | None:
    """Return the directory in environment.json, or None if it is unknown or no longer exists."""
    try:
        start = Path(json.loads((folder / "environment.json").read_text("utf-8"))["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return start if start.is_absolute() and start.is_dir() else None


def with_paths_of(folder: Path, config: Config, overrides: Sequence[str] = ()) -> Config:
    """Resolve relative data paths that do not exist here against the directory in which the run was started.

    Args:
        folder: run folder.
        config: config of the run, with the new overrides.
        overrides: new overrides; paths in them are relative to the current directory.
    """
    start, found = started_in(folder), {}
    typed = {text.partition("=")[0] for text in overrides}
    for key in PATHS if start and "dataset" not in typed else ():
        value = config.dataset.values.get(key)
        if not isinstance(value, str) or f"dataset.{key}" in typed or Path(value).expanduser().exists():
            continue
        if start and (start / value).exists():
            found[key] = str(start / value)
            print(f"dataset.{key}: {found[key]}, found in the directory that the run was started in", file=sys.stderr)
    return config.model_copy(update={"dataset": config.dataset.model_copy(update=found)}) if found else config


def with_origin(folder: Path, error: ConfigError, frozen: bool = False) -> ConfigError:
    """Return the error with the directory in which the run was started, if missing files or plugins may be there.

    Args:
        folder: the run folder.
        error: what is wrong with the config of the run.
        frozen: whether its values cannot be set, because it is a job of a sweep.
    """
    start = started_in(folder)
    missing = any(line.startswith("plugins: ") or "there is no such" in line for line in error.problems)
    if start is None or start == Path.cwd() or not missing:
        return error
    hint = f"the run was started in {start}: run this command there"
    if not frozen and any("there is no such" in line for line in error.problems):
        hint += ", or set dataset.root or dataset.path"
    return ConfigError(*error.problems, hint)
