"""Hydra's arguments: which are flags, which are overrides, and which are refused."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from runner.errors import ConfigError

FLAGS = {
    *("--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--resolve", "--package", "-p", "--run", "-r"),
    *("--multirun", "-m", "--shell-completion", "-sc", "--config-path", "-cp", "--config-name", "-cn"),
    *("--config-dir", "-cd", "--experimental-rerun", "--info", "-i"),
}
FLAGS_WITH_VALUE = {"--config-dir", "-cd", "--config-name", "-cn", "--cfg", "-c", "--package", "-p", "--info", "-i"}
# Keys of Hydra's that have no effect here, or would run code, and what to use in their place.
INSTEAD = {
    "hydra.run": "output_dir=FOLDER sets the root of all run folders, and name=NAME the last part of their names",
    "hydra.sweep": "output_dir=FOLDER sets the root of all sweep folders, and name=NAME the last part of their names",
    "hydra.output_subdir": "a run folder always holds its config.yaml and overrides.yaml",
    "hydra.job.name": "name=NAME sets the last part of the run folder's name",
    "hydra.job.chdir": "a run stays in the folder in which it was started; output_dir=FOLDER sets where it writes",
    "hydra.verbose": "run.log in the run folder holds the whole log, with tracebacks",
    "hydra.searchpath": "--config-dir FOLDER adds a folder of your own config files",
    "hydra.callbacks": "a config cannot name code; own parts are registered in a module: plugins=[my_module]",
    "hydra.sweeper.custom_search_space": "a config cannot name code; list the search space in hydra.sweeper.params",
    "hydra.job_logging": "run.log in the run folder holds the whole log",
    "hydra.hydra_logging": "run.log in the run folder holds the whole log",
}


@dataclass
class Typed:
    """What was typed, without --config-dir and its value, which Hydra need not know.

    Args:
        flags: those of Hydra, with their values.
        overrides: of values and choices.
        config_dir: the folder of the user's own config files.
        config_name: the file that the composition starts from.
    """

    flags: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    config_dir: str | None = None
    config_name: str = "config"


def split(arguments: Sequence[str]) -> Typed:
    """Return the arguments by their kinds: Hydra's parser wants all overrides together, after the flags."""
    typed = Typed()
    rest = iter(arguments)
    for text in rest:
        if not text.startswith("-"):
            typed.overrides.append(text)
            continue
        flag, equals, value = text.partition("=")
        words = [text]
        if not equals and flag in FLAGS_WITH_VALUE:
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
    """Refuse unknown flags, keys of Hydra's without effect, and arguments by which Hydra would run code.

    Raises:
        ConfigError: with a line for the first of them.
    """
    for text, follower in pairwise([*arguments, ""]):
        flag = text.partition("=")[0]
        if flag == "--experimental-rerun":
            raise ConfigError(f"{text}: refused: it would read a pickle; use: python -m runner resume FOLDER")
        if flag in ("--config-path", "-cp"):
            raise ConfigError(f"{text}: refused: it would replace runner's config files; add yours by --config-dir")
        if text.startswith("-") and flag not in FLAGS:
            raise ConfigError(f"{text}: no such flag; {_without_dashes(text, follower)}")
        if "_target_" in text:
            raise ConfigError(f"{text}: a config cannot name code; choose a registered component by `name`")
        if instead := instead_of(text):
            raise ConfigError(f"{text}: refused: {instead}")


def instead_of(override: str) -> str | None:
    """Return what to use in place of an override of Hydra's own keys; None when it is allowed."""
    key = override.lstrip("+~").partition("=")[0].partition("@")[0].replace("/", ".")
    return next((text for refused, text in INSTEAD.items() if f"{key}.".startswith(f"{refused}.")), None)


def _without_dashes(text: str, follower: str) -> str:
    meant = text.lstrip("-")
    if "=" in meant:
        return f"did you mean {meant}, without dashes?"
    if follower and "=" not in follower and not follower.startswith("--") and follower not in FLAGS:
        return f"values are set as key=value: did you mean {meant}={follower}?"
    return "values are set as key=value"
