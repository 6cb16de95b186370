"""Components from outside: the user's modules, and those of installed packages."""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path

from runner.errors import ConfigError


def load_plugins(modules: list[str]) -> None:
    """Import the user's modules, and those of installed packages, so that they register their components.

    Raises:
        ConfigError: an import failed; the message says of what and why.
    """
    search_here()
    if modules or installed_plugins():
        from runner.registry import REGISTRIES

        for registry in REGISTRIES.values():
            registry.names()  # the runner's own first: a plugin that takes one of their names is the one to blame
    problems = []
    for module in modules:
        try:
            importlib.import_module(module)
        except (Exception, SystemExit) as error:
            hint = "; searched: this folder and Python's path" if isinstance(error, ModuleNotFoundError) else ""
            problems.append(f"plugins: importing {module!r} failed: {type(error).__name__}: {error}{hint}")
    for point in installed_plugins():
        try:
            point.load()
        except (Exception, SystemExit) as error:
            problems.append(f"the installed plugin {point.name!r} ({point.value}): {type(error).__name__}: {error}")
    if problems:
        raise ConfigError(*problems)


def check_origins(modules: Sequence[str], folder: Path) -> None:
    """Name the files of the plugins that a run folder asks for, and refuse those that lie in the folder itself.

    The folder may come from elsewhere; its config chooses among the modules of this machine, and brings none.

    Raises:
        ConfigError: a module lies in the folder.
    """
    search_here()
    root = folder.resolve()
    for module in modules:
        for path in _origins(module):
            if path.is_relative_to(root):
                raise ConfigError(
                    f"plugins: {module}: found {path}, within the run folder, whose code is not run; "
                    "to run it, move it to another folder and start the command there"
                )
            print(f"plugins  {module}: {path}", file=sys.stderr)


def search_here() -> None:
    """Let Python find modules in the folder that the command was started in."""
    if "" not in sys.path:
        sys.path.insert(0, "")


def _origins(module: str) -> list[Path]:
    """Return where a module would be imported from, or for a package without a file its folders; imports nothing."""
    try:
        spec = importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    if spec.origin is None:
        return [Path(path).resolve() for path in spec.submodule_search_locations or []]
    return [Path(spec.origin).resolve()] if spec.has_location else []


@cache
def installed_plugins() -> EntryPoints:
    """Those of all installed packages, whose metadata takes a while to read."""
    return entry_points(group="runner.plugins")
