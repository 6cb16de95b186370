"""Plugins: modules of the user and of installed packages that register components."""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path

from runner.errors import ConfigError


def load_plugins(modules: list[str]) -> None:
    """Import plugins, so that they register their components.

    Args:
        modules: modules in the config. The plugins of installed packages are imported as well.

    Raises:
        ConfigError: an import failed; with one line per module.
    """
    search_here()
    if modules or installed_plugins():
        from runner.registry import ALL_REGISTRIES

        for registry in ALL_REGISTRIES.values():
            registry.names()  # import the built-in components first, so that a duplicate name is the plugin's error
    problems = []
    for module in modules:
        try:
            importlib.import_module(module)
        except (Exception, SystemExit) as error:
            hint = _hint(module) if isinstance(error, ModuleNotFoundError) else ""
            problems.append(f"plugins: importing {module!r} failed: {type(error).__name__}: {error}{hint}")
    for point in installed_plugins():
        try:
            point.load()
        except (Exception, SystemExit) as error:
            problems.append(
                f"importing the installed plugin {point.name!r} ({point.value}) failed: {type(error).__name__}: {error}"
            )
    if problems:
        raise ConfigError(*problems)


def _hint(module: str) -> str:
    """Return where a module was searched, and the one that was probably meant."""
    here = [path.stem for path in Path.cwd().glob("*.py")]
    meant = get_close_matches(module.removesuffix(".py"), here, n=1)
    did_you = f". Did you mean plugins=[{meant[0]}]?" if meant and meant[0] != module else ""
    return f"; searched: this folder and Python's path{did_you}"


def check_origins(modules: Sequence[str], folder: Path) -> None:
    """Print the files of a run folder's plugins, and refuse plugins in the folder itself.

    The folder may come from somebody else: its config may name modules of this machine, but it cannot bring its own.

    Args:
        modules: modules in the config of the folder.
        folder: the run folder.

    Raises:
        ConfigError: a module is in the folder.
    """
    search_here()
    root = folder.resolve()
    for module in modules:
        for path in _origins(module):
            if path.is_relative_to(root):
                raise ConfigError(
                    f"plugins: {module}: found {path}; code in a run folder is not executed: "
                    "move it to another folder, and start the command there"
                )
            print(f"plugins  {module}: {path}", file=sys.stderr)


def search_here() -> None:
    """Add the current folder to Python's path."""
    if "" not in sys.path:
        sys.path.insert(0, "")


def _origins(module: str) -> list[Path]:
    """Return the file of a module, or the folders of a namespace package, without importing it."""
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
    """Return the entry points of all installed plugins; cached, because reading the metadata is slow."""
    return entry_points(group="runner.plugins")
