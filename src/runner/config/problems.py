"""What is wrong with overrides that were refused, each problem in a line that says how to mend it."""

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

REGISTERS = {  # their names in runner.registry, which is imported late
    "model": "MODELS",
    "loss": "LOSSES",
    "optim": "OPTIMIZERS",
    "scheduler": "SCHEDULERS",
    "dataset": "DATASETS",
}


@dataclass
class Place:
    """Where overrides are composed: Hydra's loader, the user's folder, and the file that is composed first."""

    loader: ConfigLoader
    own: Path | None
    config_name: str

    def compose(self, overrides: Sequence[str], with_hydra: bool = False) -> DictConfig:
        return compose(self.config_name, list(overrides), return_hydra_config=with_hydra)

    def options(self, group: str) -> list[str]:
        return [str(option) for option in self.loader.get_group_options(group)]

    def file(self, group: str, option: Any) -> Path | None:
        """Return the user's own file of an option, if there is one."""
        path = None if self.own is None else self.own / group / f"{option}.yaml"
        return path if path is not None and path.is_file() else None


def find_problems(
    overrides: Sequence[str],
    config_dir: str | None,
    check: Callable[[DictConfig], object],
    config_name: str = "config",
) -> list[str]:
    """Return a line for each thing to mend in overrides that were refused; each stage hides the later ones.

    Args:
        overrides: as typed; a sweep's lists are tried value by value.
        config_dir: searched before `conf/`.
        check: what the composed config has to pass; raises ConfigError.
        config_name: the file that the composition starts from.
    """
    with hydra_on_conf(config_dir) as loader:
        place = Place(loader, None if config_dir is None else Path(config_dir).absolute(), config_name)
        try:
            place.compose([])
        except (*COMPOSITION_ERRORS, ConfigError) as error:
            return [in_words(error)]
        problems, texts = spaced(overrides)
        parsed = []
        for before, text in zip(["", *texts], texts, strict=False):
            try:
                parsed.append(OverridesParser.create().parse_override(text))
            except HydraException as error:
                problems.append(unreadable(text, before, error))
        good, refused = compose_one_by_one(place, parsed)
        return [*problems, *refused, *check_without_the_wrong(place, good, check)]


def compose_one_by_one(place: Place, overrides: Sequence[Override]) -> tuple[list[str], list[str]]:
    """Return the overrides that compose, of a list the first value, and a line for each that does not."""
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
            except ConfigError as error:  # of a file
                problems += error.problems
            except COMPOSITION_ERRORS as error:
                problems.append(_why_not(text, error, place, good))
        good += fine[:1]
    return good, problems


def check_without_the_wrong(
    place: Place, overrides: Sequence[str], check: Callable[[DictConfig], object]
) -> Iterator[str]:
    """Give what a check finds; in rounds, each without the overrides found wrong, so that they hide no others."""
    good, told = list(overrides), set[str]()
    while True:
        try:
            lines = list(_nameless(place, good))
            if not lines:
                check(place.compose(good))
                return
        except ConfigError as error:
            lines = [_unregistered(line, place, good) for line in error.problems]
        except COMPOSITION_ERRORS:  # what is left does not go together without the others
            return
        yield from (line for line in lines if line not in told)
        told |= set(lines)
        wrong = [text for text in good if not place.options(_key(text)) and _is_told(_key(text), lines)]
        if not wrong or _is_told("plugins", lines):  # without a plugin its parts are no mistakes
            return
        good = [text for text in good if text not in wrong]


def _why_not(text: str, error: Exception, place: Place, good: Sequence[str]) -> str:
    """Return what is wrong with an override that does not compose with `good` ones."""
    key, value = _key(text), text.partition("=")[2]
    options = place.options(key)
    if options and value not in options:
        return no_option(key, value, options, place.own)
    cfg = place.compose(good, with_hydra=key.startswith("hydra."))
    line = None if options else no_such_key(key, cfg)
    return line or not_composed(text, error, place.loader)


def _nameless(place: Place, good: Sequence[str]) -> Iterator[str]:
    """Give a line for each chosen file of the user's that lacks the component's name."""
    if place.own is None:
        return
    cfg = place.compose(good, with_hydra=True)
    for group, option in cfg.hydra.runtime.choices.items():
        file = place.file(group, option)
        if file and group in cfg and OmegaConf.is_dict(cfg[group]) and "name" not in cfg[group] and group != "trainer":
            found = ", ".join(map(str, OmegaConf.load(file))) or "nothing"  # not cfg[group], which has inherited keys
            yield f"{shown(file)}: needs a line `name: ...`, such as `name: {option}`; found {found}"


def _unregistered(line: str, place: Place, good: Sequence[str]) -> str:
    """Return the line; that a name is not registered is told otherwise where the user's own file has it."""
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


def _is_told(key: str, problems: Sequence[str]) -> bool:
    return any(line.startswith((f"{key}:", f"{key}.", f"{key}[")) for line in problems)


def _key(text: str) -> str:
    return text.lstrip("+~").partition("=")[0]
