"""What is wrong with overrides that were refused, each problem in a line that says how to mend it."""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from runner.composition import COMPOSITION_ERRORS, hydra_on_conf, value_by_value
from runner.errors import ConfigError, nearest

COMMANDS = ("resume", "evaluate", "predict", "compare", "export", "components")
EXTRAS = ("optuna", "submitit", "ray")  # what pip installs beside the runner for other sweepers and launchers
NETWORKS = (
    "resnet",
    "vgg",
    "efficientnet",
    "mobilenet",
    "densenet",
    "alexnet",
    "convnext",
    "vit_",
    "swin",
    "squeezenet",
)


def find_problems(overrides: Sequence[str], config_dir: str | None, check: Callable[[DictConfig], object]) -> list[str]:
    """A line for each thing to mend in overrides that were refused; composing and checking stop at the first kind.

    Args:
        overrides: as typed; a sweep's lists are tried value by value.
        config_dir: searched before `conf/`.
        check: what the composed config has to pass; raises ConfigError.
    """
    search = [f"hydra.searchpath=[file://{Path(config_dir).resolve()}]"] if config_dir else []
    good: list[str] = []
    problems = []
    with hydra_on_conf() as loader:
        options = loader.get_group_options
        parsed = []
        for text in overrides:
            try:
                parsed.append(OverridesParser.create().parse_override(text))
            except HydraException as error:
                problems.append(_unreadable(text, overrides, str(error).splitlines()[0]))
        for override in sorted(parsed, key=lambda override: not options(override.key_or_group)):  # groups first
            fine = []
            for text in value_by_value(override):
                try:
                    compose("config", [*search, *good, text])
                    fine.append(text)
                except COMPOSITION_ERRORS as error:
                    of_hydra = _key(text).startswith("hydra.")
                    cfg = compose("config", [*search, *good], return_hydra_config=of_hydra)
                    problems.append(_why_not(text, cfg, options(override.key_or_group)) or _reason(text, error))
            good += fine[:1]
        while True:  # each round without the overrides that were found wrong, so that they hide no others
            try:
                check(compose("config", [*search, *good]))
                return problems
            except ConfigError as error:
                problems += [line for line in error.problems if line not in problems]
                wrong = [text for text in good if not options(_key(text)) and _is_told(_key(text), error.problems)]
                if not wrong:
                    return problems
                good = [text for text in good if text not in wrong]
            except COMPOSITION_ERRORS:  # what is left does not go together without the others
                return problems


def in_words(error: Exception) -> str:
    """Hydra's error, where nothing better is known."""
    listed = re.match(r"Ambiguous value for argument '((.+?)=.*)'", str(error))
    if listed:
        text, key = listed.groups()
        return f"{text}: several values are a sweep, which needs -m; a list is written in brackets: {key}=[...]"
    return str(error)


def _unreadable(text: str, overrides: Sequence[str], reason: str) -> str:
    """What is wrong with an override that Hydra cannot read."""
    follower = next((later for text_, later in pairwise(overrides) if text_ == text), "")
    if "=" not in text and "." in text and "=" not in follower and follower:
        return f"{text}: needs its value after a '=', without spaces: did you mean {text}={follower}?"
    if "=" not in text:
        return f"{text}: is no command and no key=value; commands: {', '.join(COMMANDS)}"
    return f"{text}: cannot be read as key=value, without spaces: {reason}"


def _why_not(text: str, cfg: DictConfig, options: list[str]) -> str | None:
    """What is wrong with an override that does not compose with `cfg`; None when it is nothing usual."""
    key, value = _key(text), text.partition("=")[2]
    if options:
        return None if value in options else _no_option(key, value, options)
    node: Any = cfg
    for part in key.split("."):
        if not OmegaConf.is_dict(node):
            return f"{key}: no such key"
        if part not in node and not OmegaConf.is_missing(node, part):
            elsewhere = [name for name in _dotted(cfg) if name.endswith(f".{key}")]  # a group left out: lr=0.1
            hint = f"did you mean {' or '.join(elsewhere)}?" if elsewhere else nearest(part, map(str, node))
            return f"{key}: no such key; {hint}"
        node = node._get_node(part)
    return None


def _reason(text: str, error: Exception) -> str:
    """What Hydra has against an override; where that is no more than that it cannot be merged, why not."""
    return f"{text}: {str(error.__cause__ or error).splitlines()[0]}"


def _no_option(key: str, value: str, options: list[str]) -> str:
    """What is wrong with a choice that its group does not have."""
    line = f"{key}: found {value!r}; {nearest(value, options)}"
    if key == "model" and value.lower().startswith(NETWORKS):
        line += f" A network of torchvision is model=torchvision model.arch={value}."
    extra = value.partition("_")[0]  # submitit_slurm
    if key in ("hydra/launcher", "hydra/sweeper") and extra in EXTRAS:
        line += f" To get {value}: pip install 'runner[{extra}]'"
    return line


def _dotted(node: Any, prefix: str = "") -> Iterator[str]:
    """All keys, with those of their groups before them."""
    for key in node:
        yield f"{prefix}{key}"
        if OmegaConf.is_dict(node._get_node(key)):
            yield from _dotted(node._get_node(key), f"{prefix}{key}.")


def _is_told(key: str, problems: Sequence[str]) -> bool:
    return any(line.startswith((f"{key}:", f"{key}.", f"{key}[")) for line in problems)


def _key(text: str) -> str:
    return text.lstrip("+~").partition("=")[0]
