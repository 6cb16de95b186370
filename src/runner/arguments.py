"""Hydra's arguments: which are flags, which are overrides, and which are refused."""

import argparse

from runner.errors import ConfigError

FLAGS = {
    *("--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--resolve", "--package", "-p", "--run", "-r"),
    *("--multirun", "-m", "--shell-completion", "-sc", "--config-path", "-cp", "--config-name", "-cn"),
    *("--config-dir", "-cd", "--experimental-rerun", "--info", "-i"),
}
FLAGS_WITH_VALUE = {
    *("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp"),
    *("--cfg", "-c", "--package", "-p", "--info", "-i"),
}


def hydra_overrides(arguments: list[str]) -> tuple[list[str], str | None]:
    """The overrides among Hydra's arguments, and the value of --config-dir."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--config-dir", "-cd")
    for flag in (("--config-name", "-cn"), ("--config-path", "-cp"), ("--cfg", "-c"), ("--package", "-p")):
        parser.add_argument(*flag)
    known, rest = parser.parse_known_args(arguments)
    return [text for text in rest if not text.startswith("-")], known.config_dir


def flags_first(arguments: list[str]) -> list[str]:
    """The same arguments, flags ahead of overrides: Hydra's parser wants all overrides together."""
    flags: list[str] = []
    overrides: list[str] = []
    rest = iter(arguments)
    for text in rest:
        if text in FLAGS_WITH_VALUE:
            flags += [text, next(rest, "")]
        else:
            (flags if text.startswith("-") else overrides).append(text)
    return [*flags, *overrides]


def check_arguments(arguments: list[str]) -> None:
    """Raises ConfigError for flags that are none, and for arguments by which Hydra would run code or read a pickle."""
    for text in arguments:
        if text.startswith("--experimental-rerun"):
            raise ConfigError(f"{text}: refused: it would read a pickle; use: python -m runner resume FOLDER")
        if text.startswith("-") and text.partition("=")[0] not in FLAGS:
            meant = text.lstrip("-")
            raise ConfigError(
                f"{text}: no such flag; "
                + (f"did you mean {meant}, without dashes?" if "=" in meant else "values are set as key=value")
            )
        if "_target_" in text:
            raise ConfigError(f"{text}: a config cannot name code; choose a registered component by `name`")
