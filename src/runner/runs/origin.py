"""The folder that a run was started in, from which the relative paths in its config are meant."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from runner.config.schema import Config
from runner.errors import ConfigError

PATHS = ("root", "path")  # keys of datasets


def started_in(folder: Path) -> Path | None:
    """Return the folder that a run was started in; None where environment.json does not say, or it is gone."""
    try:
        start = Path(json.loads((folder / "environment.json").read_text("utf-8"))["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return start if start.is_absolute() and start.is_dir() else None


def with_paths_of(folder: Path, config: Config, overrides: Sequence[str] = ()) -> Config:
    """Return the config of a run with relative paths of its data that lead nowhere here, but did where it was started.

    Args:
        folder: the run's.
        config: the run's, with overrides.
        overrides: as typed now; a path among them is meant from the current folder.
    """
    start, found = started_in(folder), {}
    typed = {text.partition("=")[0] for text in overrides}
    for key in PATHS if start and "dataset" not in typed else ():
        value = config.dataset.values.get(key)
        if not isinstance(value, str) or f"dataset.{key}" in typed or Path(value).expanduser().exists():
            continue
        if start and (start / value).exists():
            found[key] = str(start / value)
            print(f"dataset.{key}: {found[key]}, from the folder that the run was started in", file=sys.stderr)
    return config.model_copy(update={"dataset": config.dataset.model_copy(update=found)}) if found else config


def with_origin(folder: Path, error: ConfigError) -> ConfigError:
    """Return the error with a line that says where the run was started, if what is missing may be there."""
    start = started_in(folder)
    lost = any(line.startswith("plugins: ") or "there is no such" in line for line in error.problems)
    if start is None or start == Path.cwd() or not lost:
        return error
    hint = f"the run was started in {start}: run this command there, or give dataset.root or dataset.path anew"
    return ConfigError(*error.problems, hint)
