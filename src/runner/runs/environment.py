"""What environment.json records of a run, and whether the code of its plugins has changed since."""

import hashlib
import json
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from runner.config.schema import flatten
from runner.plugins import installed_plugins


def read_environment(folder: Path) -> dict[str, Any]:
    """Return environment.json as flat values; empty if it cannot be read."""
    try:
        values = json.loads((folder / "environment.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return flatten(values) if isinstance(values, dict) else {}


def hash_plugins(plugins: list[str]) -> dict[str, str]:
    """Return a hash of the source file of each imported module of the plugins, by its name."""
    hashes = {}
    roots = {re.split("[.:]", name)[0] for name in [*plugins, *(point.value for point in installed_plugins())]}
    for name, module in sorted(sys.modules.items()):
        if name.partition(".")[0] in roots and (file := getattr(module, "__file__", None)):
            with suppress(OSError):  # such as a module in a zip file
                hashes[name] = hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
    return hashes


def changed_plugins(folder: Path, plugins: list[str]) -> list[str]:
    """Return a warning if the code of plugins has changed since the run in a folder was started, or nothing.

    Runs of earlier versions have not recorded their plugins.
    """
    then = read_environment(folder)
    changed = [name for name, found in hash_plugins(plugins).items() if then.get(f"plugins.{name}", found) != found]
    names = ", ".join(changed)
    return [f"plugins: {names}: changed since the run was started: it may go on differently"] if changed else []
