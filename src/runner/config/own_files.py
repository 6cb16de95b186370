"""Read config files in the user's folder (--config-dir) before those in `conf/`, and explain errors in them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from runner.config.yaml_file import read_yaml
from runner.errors import ConfigError

OWN = "command-line"  # Hydra's name for the folder given by --config-dir
ADVICE = {  # part of a message of the YAML parser -> what to do
    "'\\t'": "indent with spaces, not with tabs",
    "tab character": "indent with spaces",
    "mapping values are not allowed": "keys that belong together begin in the same column",
    "duplicate key": "write the key once",
}


class Files(FileConfigSource):
    """A folder of config files. An error in a file is a ConfigError with its line, column and reason."""

    @staticmethod
    def _normalize_file_name(filename: str) -> str:
        """Return the name with the extension; Hydra 1.4 would refuse the whole folder if a file ends in .yml."""
        return filename if filename.endswith(".yaml") else f"{filename}.yaml"

    @staticmethod
    def scheme() -> str:
        return "checked"

    def is_config(self, config_path: str) -> bool:
        """Return whether there is such a file; the user's folder cannot replace config.yaml."""
        replaces = self.provider == OWN and config_path in ("config", "config.yaml")
        return not replaces and bool(super().is_config(config_path))

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path, self._normalize_file_name(config_path))
        try:
            if self.provider == OWN:
                read_yaml(path)  # limits the expansion of aliases, which OmegaConf does not
            result = super().load_config(config_path)
        except (YAMLError, OSError, ValueError, OmegaConfBaseException) as error:
            raise ConfigError(f"{shown(path)}{_reason(error)}") from error
        if not OmegaConf.is_dict(result.config):
            raise ConfigError(f"{shown(path)}: found a list; write keys and values, such as `name: {path.stem}`")
        return result


class Folders(SearchPathPlugin):
    """Put the user's folder before `conf/` on Hydra's search path, and let `Files` read both."""

    own: ClassVar[Path | None] = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for element in search_path.get_path():
            if element.provider == "main":
                element.path = f"{Files.scheme()}://{element.path}"
        if self.own is not None:
            search_path.prepend(OWN, f"{Files.scheme()}://{self.own}", anchor="main")


def own_folder(config_dir: str | None) -> Path | None:
    """Return the absolute path of the user's folder of config files; None if there is none.

    Raises:
        ConfigError: there is no such folder.
    """
    if config_dir is None:
        return None
    own = Path(config_dir).absolute()
    if not own.is_dir():
        raise ConfigError(f"--config-dir: no such folder: {config_dir} (looked for {own})")
    return own


@contextmanager
def searching(config_dir: str | None) -> Iterator[None]:
    """Let Hydra search a folder before `conf/`, within this context.

    Raises:
        ConfigError: there is no such folder.
    """
    own = own_folder(config_dir)
    for plugin in (Files, Folders):
        Plugins.instance().register(plugin)
    before, Folders.own = Folders.own, own
    try:
        yield
    finally:
        Folders.own = before


def shown(path: Path) -> Path:
    """Return the path relative to the current folder if it is below it, or the path itself."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _reason(error: Exception) -> str:
    """Return the reason of an error, to be put after the name of the file, with line and column if they are known."""
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        mark, problem = error.problem_mark, error.problem or error.context
        advice: Any = next((text for sign, text in ADVICE.items() if sign in str(problem)), None)
        return f", line {mark.line + 1}, column {mark.column + 1}: {problem}" + (f": {advice}" if advice else "")
    return f": {' '.join(str(error).split())}"
