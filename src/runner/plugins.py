"""Components from outside: the user's modules, and those of installed packages."""

import importlib
import sys
from functools import cache
from importlib.metadata import EntryPoints, entry_points

from runner.errors import ConfigError


def load_plugins(modules: list[str]) -> None:
    """Imports the user's modules, and those of installed packages, so that they register their components.

    Raises:
        ConfigError: an import failed; the message says of what and why.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")  # the folder that the command was started in
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


@cache
def installed_plugins() -> EntryPoints:
    """Those of all installed packages, whose metadata takes a while to read."""
    return entry_points(group="runner.plugins")
