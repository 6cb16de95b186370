"""Split command-line arguments into Hydra's flags and overrides, and refuse those that are not supported."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise

from hydra._internal.utils import get_args_parser

from runner.errors import ConfigError

# Hydra's keys that have no effect here or would run code -> hint at what to use instead.
INSTEAD = {
    "hydra.run": "output_dir=FOLDER sets the root of all run folders, and name=NAME the last part of their names",
    "hydra.sweep": "output_dir=FOLDER sets the root of all sweep folders, and name=NAME the last part of their names",
    "hydra.output_subdir": "a run folder always holds its config.yaml and overrides.yaml",
    "hydra.job.name": "name=NAME sets the last part of the run folder's name",
    "hydra.job.chdir": "a run stays in the folder in which it was started; output_dir=FOLDER sets where it writes",
    "hydra.verbose": "run.log in the run folder holds the whole log, with tracebacks",
    "hydra.searchpath": "--config-dir FOLDER adds a folder of your own config files",
    "hydra.callbacks": "a config cannot name code; register your own components in a module: plugins=[my_module]",
    "hydra.sweeper.custom_search_space": "a config cannot name code; list the search space in hydra.sweeper.params",
    "hydra.job_logging": "run.log in the run folder holds the whole log",
    "hydra.hydra_logging": "run.log in the run folder holds the whole log",
}


# Flags after which the program only prints something, as text.
PRINTING = ("--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc")


def take_json(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """Return the arguments without `--json`, and whether to write events as JSON lines instead of text."""
    rest = [text for text in arguments if text != "--json"]
    prints = any(text.partition("=")[0] in PRINTING for text in rest)
    return rest, len(rest) < len(arguments) and not prints


@dataclass
class Typed:
    """Command-line arguments by kind.

    Args:
        flags: Hydra's flags with their values, except --config-dir.
        overrides: overrides of values and choices.
        config_dir: value of --config-dir, the folder of the user's config files.
        config_name: value of --config-name, the name of the primary config.
    """

    flags: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    config_dir: str | None = None
    config_name: str = "config"


@cache
def hydra_flags() -> dict[str, bool]:
    """Return Hydra's flags, and whether each one takes a value."""
    actions = get_args_parser()._actions
    return {flag: action.nargs != 0 for action in actions for flag in action.option_strings}


def split(arguments: Sequence[str]) -> Typed:
    """Return the arguments by kind, because Hydra's parser expects the flags first, then all overrides."""
    typed = Typed()
    rest = iter(arguments)
    for text in rest:
        if not text.startswith("-"):
            typed.overrides.append(text)
            continue
        flag, equals, value = text.partition("=")
        words = [text]
        if not equals and hydra_flags().get(flag):
            value = next(rest, "")
            words.append(value)
        if flag in ("--config-dir", "-cd"):
            typed.config_dir = value
        else:
            typed.flags += words
        if flag in ("--config-name", "-cn"):
            typed.config_name = value
    return typed


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuse unknown flags, keys of Hydra that have no effect here, and arguments that would make Hydra run code.

    Raises:
        ConfigError: with one line, about the first such argument.
    """
    for text, follower in pairwise([*arguments, ""]):
        flag = text.partition("=")[0]
        if flag == "--experimental-rerun":
            raise ConfigError(f"{text}: refused: it would read a pickle; use: python -m runner resume FOLDER")
        if flag in ("--config-path", "-cp"):
            raise ConfigError(f"{text}: refused: it replaces the config files of runner; add yours with --config-dir")
        if text.startswith("-") and flag not in hydra_flags():
            raise ConfigError(f"{text}: no such flag; {_without_dashes(text, follower)}")
        if "_target_" in text:
            raise ConfigError(f"{text}: a config cannot name code; choose a registered component by `name`")
        if instead := instead_of(text):
            raise ConfigError(f"{text}: refused: {instead}")


def instead_of(override: str) -> str | None:
    """Return what to use instead of an override of Hydra's own keys; None if it is allowed."""
    key = override.lstrip("+~").partition("=")[0].partition("@")[0].replace("/", ".")
    return next((text for refused, text in INSTEAD.items() if f"{key}.".startswith(f"{refused}.")), None)


def _without_dashes(text: str, follower: str) -> str:
    """Return a hint for an unknown flag, which is probably an override.

    Args:
        text: the flag.
        follower: the next argument, or "".
    """
    meant = text.lstrip("-")
    if "=" in meant:
        return f"did you mean {meant}, without dashes?"
    if follower and "=" not in follower and not follower.startswith("--") and follower not in hydra_flags():
        return f"values are set as key=value: did you mean {meant}={follower}?"
    return "values are set as key=value"
