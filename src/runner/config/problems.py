"""Find all problems of overrides that were refused, and describe each one in a line."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from runner.config.composition import COMPOSITION_ERRORS, hydra_on_conf, value_by_value
from runner.config.explain import in_words, left_out, no_option, no_such_key, not_composed, spaced, unreadable
from runner.config.own_files import shown
from runner.errors import ConfigError

REGISTERS = {  # names in runner.registry, which is not imported here because it imports torch
    "model": "MODELS",
    "loss": "LOSSES",
    "optim": "OPTIMIZERS",
    "scheduler": "SCHEDULERS",
    "dataset": "DATASETS",
}


@dataclass
class Place:
    """The config files with which overrides are composed.

    Args:
        loader: Hydra's config loader.
        own: the user's folder of config files, if there is one.
        config_name: name of the primary config.
    """

    loader: ConfigLoader
    own: Path | None
    config_name: str

    def compose(self, overrides: Sequence[str], with_hydra: bool = False) -> DictConfig:
        """Return the composed config.

        Args:
            overrides: overrides to compose with.
            with_hydra: whether to include Hydra's own keys.
        """
        return compose(self.config_name, list(overrides), return_hydra_config=with_hydra)

    def options(self, group: str) -> list[str]:
        """Return the options of a group; [] if there is no such group."""
        return [str(option) for option in self.loader.get_group_options(group)]

    def file(self, group: str, option: Any) -> Path | None:
        """Return the user's file for an option, if there is one."""
        path = None if self.own is None else self.own / group / f"{option}.yaml"
        return path if path is not None and path.is_file() else None


def find_problems(
    overrides: Sequence[str],
    config_dir: str | None,
    check: Callable[[DictConfig], object],
    config_name: str = "config",
) -> list[str]:
    """Return one line for each problem of overrides that were refused.

    Problems of an earlier kind, such as an override that cannot be parsed, may hide later ones.

    Args:
        overrides: overrides as typed; each value of a sweep is tried.
        config_dir: the user's folder of config files.
        check: function that raises ConfigError if the composed config is invalid.
        config_name: name of the primary config.
    """
    with hydra_on_conf(config_dir) as loader:
        place = Place(loader, None if config_dir is None else Path(config_dir).absolute(), config_name)
        try:
            place.compose([])
        except (*COMPOSITION_ERRORS, ConfigError) as error:
            return [in_words(error)]
        parsed, problems = parse_each(overrides)
        good, refused = compose_one_by_one(place, parsed)
        return [*problems, *refused, *check_without_the_wrong(place, good, check)]


def parse_each(overrides: Sequence[str]) -> tuple[list[Override], list[str]]:
    """Parse overrides.

    Returns:
        The overrides that can be parsed.
        One line for each that cannot.
    """
    problems, texts = spaced(overrides)
    parsed = []
    for before, text in zip(["", *texts], texts, strict=False):
        try:
            parsed.append(OverridesParser.create().parse_override(text))
        except HydraException as error:
            problems.append(unreadable(text, before, error))
    return parsed, problems


def parse_known(overrides: Sequence[str], cfg: DictConfig, folders: Sequence[Path]) -> Iterator[Override]:
    """Yield the parsed overrides of keys that a config has.

    Each one may be applied before the next is taken: the choice of a group can bring keys for the overrides after it.

    Args:
        overrides: the overrides.
        cfg: the config.
        folders: folders of config files, whose options may be chosen.

    Raises:
        ConfigError: with one line for each override that cannot be parsed, or whose key or option does not exist.
    """
    parsed, problems = parse_each(overrides)
    for each in parsed:
        group, choice = each.key_or_group, each.value()
        options = sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})
        if line := no_such_key(group, cfg):
            problems.append(line)
        elif options and isinstance(choice, str) and choice not in options:
            problems.append(no_option(group, choice, options, folders[-1]))
        else:
            yield each
    if problems:
        raise ConfigError(*problems)


def compose_one_by_one(place: Place, overrides: Sequence[Override]) -> tuple[list[str], list[str]]:
    """Compose with one override after the other, keeping those that compose.

    Returns:
        The overrides that compose, with the first valid value of each sweep.
        One line for each override or value that does not.
    """
    good: list[str] = []
    problems: list[str] = []
    for override in sorted(overrides, key=lambda override: not place.options(override.key_or_group)):  # groups first
        options = place.options(override.key_or_group)
        if override.is_delete() and options:
            problems.append(left_out(override.key_or_group, options))
            continue
        fine = []
        for text in value_by_value(override):
            try:
                place.compose([*good, text])
                fine.append(text)
            except ConfigError as error:  # the error is in a config file
                problems += error.problems
            except COMPOSITION_ERRORS as error:
                problems.append(_why_not(text, error, place, good))
        good += fine[:1]
    return good, problems


def check_without_the_wrong(
    place: Place, overrides: Sequence[str], check: Callable[[DictConfig], object]
) -> Iterator[str]:
    """Yield the problems that a check finds; repeat it without the wrong overrides, which may hide other problems."""
    good, removed, reported = list(overrides), set[str](), set[str]()
    while True:
        try:
            lines = list(_nameless(place, good))
            if not lines:
                check(place.compose(good))
                return
        except ConfigError as error:
            lines = [_unregistered(line, place, good) for line in error.problems]
        except COMPOSITION_ERRORS:  # the remaining overrides do not compose without the others
            return
        # A line that mentions a removed key is about the default that has taken its place.
        yield from (line for line in lines if line not in reported and not any(key in line for key in removed))
        reported |= set(lines)
        wrong = [text for text in good if not place.options(_key(text)) and _concerns(_key(text), lines)]
        if not wrong or _concerns("plugins", lines):  # the components of a missing plugin are unknown
            return
        good = [text for text in good if text not in wrong]
        removed |= {_key(text) for text in wrong}


def _why_not(text: str, error: Exception, place: Place, good: Sequence[str]) -> str:
    """Return a line that explains why an override does not compose with the good ones."""
    key, value = _key(text), text.partition("=")[2]
    options = place.options(key)
    if options and value not in options:
        return no_option(key, value, options, place.own)
    cfg = place.compose(good, with_hydra=key.startswith("hydra."))
    line = None if options else no_such_key(key, cfg)
    return line or not_composed(text, error, place.loader)


def _nameless(place: Place, good: Sequence[str]) -> Iterator[str]:
    """Yield a line for each chosen config file of the user that lacks the key `name`."""
    if place.own is None:
        return
    cfg = place.compose(good, with_hydra=True)
    for group, option in cfg.hydra.runtime.choices.items():
        file = place.file(group, option)
        if file and group in cfg and OmegaConf.is_dict(cfg[group]) and "name" not in cfg[group] and group != "trainer":
            # Not from cfg[group], which also has inherited keys.
            found = ", ".join(map(str, OmegaConf.load(file))) or "nothing"
            yield f"{shown(file)}: needs a line `name: ...`, such as `name: {option}`; found {found}"


def _unregistered(line: str, place: Place, good: Sequence[str]) -> str:
    """Return the line, or a more helpful one if it is about an unregistered name in a config file of the user."""
    match = re.match(r"(\w+)\.name: found '(.*?)'; allowed: ", line)
    if not match or match[1] not in REGISTERS:
        return line
    group, name = match.groups()
    cfg = place.compose(good, with_hydra=True)
    file = place.file(group, cfg.hydra.runtime.choices.get(group))
    if file is None:
        return line
    decorator = f'@{REGISTERS[group]}.register("{name}")'
    modules = ", ".join(map(str, cfg.plugins or []))
    missing = f"plugins=[MODULE] is missing, with the module that has {decorator}"
    if modules:
        missing = f"{modules} has no {decorator}"
    return f"{shown(file)}: found, but no {group} is registered as {name!r}: {missing}"


def _concerns(key: str, problems: Sequence[str]) -> bool:
    """Return whether a problem is about this key or one below it."""
    return any(line.startswith((f"{key}:", f"{key}.", f"{key}[")) for line in problems)


def _key(text: str) -> str:
    """Return the key of an override."""
    return text.lstrip("+~").partition("=")[0]
