"""Explain what is wrong with an override, and how to correct it. Most functions return a line of an error message."""

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from runner.config.own_files import shown
from runner.errors import ELSEWHERE, install, nearest

COMMANDS = ("resume", "evaluate", "predict", "compare", "diff", "verify", "export", "components")
STARTED = ("train", "run", "start", "fit")  # names of the training command in other programs
EXTRAS = ("optuna", "submitit", "ray")  # extras of the package with sweepers and launchers
NETWORKS = (  # prefixes of the names of models in torchvision
    *("resnet", "vgg", "efficientnet", "mobilenet", "densenet", "alexnet", "convnext", "vit_", "swin"),
    *("squeezenet", "shufflenet", "googlenet", "inception", "regnet", "mnasnet", "maxvit", "wide_resnet", "resnext"),
)
EMPTY = {"logger": "none", "scheduler": "constant"}  # the option of a group that disables it


def in_words(error: Exception) -> str:
    """Return the message of an error of Hydra, in our words where Hydra's do not help."""
    listed = re.match(r"Ambiguous value for argument '((.+?)=.*)'", str(error))
    if listed:
        text, key = listed.groups()
        return f"{text}: several values are a sweep, which needs -m; a list is written in brackets: {key}=[...]"
    return str(error).split("\n\n")[0]  # Hydra's search path follows after the empty line


def spaced(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Find overrides that the shell has split at their spaces.

    Args:
        texts: overrides as typed.

    Returns:
        One line for each of them.
        The other overrides.
    """
    problems, others = [], []
    rest = list(texts)
    while rest:
        used, line = _split(rest)
        if line:
            problems.append(line)
        else:
            others.append(rest[0])
        del rest[: max(used, 1)]
    return problems, others


def _split(texts: list[str]) -> tuple[int, str]:
    """Return how many of the first texts belong to one split override, and a line about it; 0 and "" if none do."""
    first, second, third = [*texts, "", ""][:3]
    if first.startswith("="):
        return 1, f"{first}: has no key; expected key=value"
    if second == "=" and third:
        return 3, f"{first} = {third}: write it without spaces: {first}={third}"
    if "=" not in first and second.startswith("="):
        return 2, f"{first} {second}: write it without spaces: {first}{second}"
    if first.endswith("=") and len(first) > 1 and second and "=" not in second:
        return 2, f"{first} {second}: write it without spaces: {first}{second}"
    key = first.rstrip(":")
    if "=" not in first and ("." in key or key != first) and second and "=" not in second:
        return 2, f"{key}: write its value after '=', without spaces: did you mean {key}={second}?"
    if "=" in first and _open(first):
        for count in range(2, len(texts) + 1):
            whole = " ".join(texts[:count])
            if not _open(whole):
                return count, f"{whole}: the shell splits it at the spaces; quote it: {_in_shell(whole)}"
    return 0, ""


def _open(text: str) -> bool:
    """Return whether a text has unclosed brackets."""
    return any(text.count(left) > text.count(right) for left, right in ("[]", "{}", "()"))


def _in_shell(text: str) -> str:
    """Return a text in quotes for the shell."""
    return f"'{text}'" if "$" in text or '"' in text else f'"{text}"'


def unreadable(text: str, before: str, error: HydraException) -> str:
    """Return what is wrong with an override that Hydra cannot parse.

    Args:
        text: the override.
        before: the override typed before it, or "".
        error: error of Hydra's parser.
    """
    key, equals, value = text.partition("=")
    if equals:
        reason, quoted = str(error).splitlines()[0], _quoted(key, value)
        advice = f"quote the value: {quoted}" if quoted else "expected key=value"
        return f"{text}: cannot be parsed: {reason}; {advice}"
    if text in STARTED and "=" not in before:
        return f"{text}: not a command: a run is started without one: python -m runner model=mlp optim.lr=0.1"
    if text in ("help", "version"):
        return f"{text}: not a command; use: python -m runner --{text}"
    line = f"{text}: neither a command nor key=value; commands: {', '.join(COMMANDS)}"
    if ":" in text:
        return f"{line}. Did you mean {text.replace(':', '=', 1)}?"
    meant = get_close_matches(text, COMMANDS, n=1)
    if meant:
        return f"{line}. Did you mean {meant[0]}?"
    if "=" in before:
        values = f"; separate the values of a sweep with commas: -m {before},{text}" if text[0] in "0123456789-" else ""
        return f"{line}. Quote a value with spaces: {_in_shell(f'{before} {text}')}{values}"
    return line


def _quoted(key: str, value: str) -> str | None:
    """Return an override with its value in quotes, to be typed in a shell; None if Hydra cannot parse that either."""
    inner = '"' if "$" in value or "'" in value else "'"
    text = f"{key}={inner}{value}{inner}"
    try:
        OverridesParser.create().parse_override(text)
    except HydraException:
        return None
    return f"'{text}'" if inner == '"' else f'"{text}"'


def left_out(group: str, options: Sequence[str]) -> str:
    """Return what to write instead of `~group`."""
    if group in EMPTY:
        return f"~{group}: a group cannot be deleted; use {group}={EMPTY[group]}"
    return f"~{group}: a group cannot be deleted; choose one of: {', '.join(sorted(options))}"


def no_such_key(key: str, cfg: DictConfig) -> str | None:
    """Return what is wrong with a key; None if the config has it."""
    node: Any = cfg
    for number, part in enumerate(parts := key.split(".")):
        if not OmegaConf.is_dict(node):
            value = "null" if str(node) == "None" else node
            return f"{key}: no such key; {'.'.join(parts[:number])} is {value}"
        if part not in node and not OmegaConf.is_missing(node, part):
            elsewhere = _elsewhere(key, cfg)
            hint = f"did you mean {' or '.join(elsewhere)}?" if elsewhere else nearest(part, map(str, node))
            return f"{key}: no such key; {hint}"
        node = node._get_node(part)
    return None


def _elsewhere(key: str, cfg: DictConfig) -> list[str]:
    """Return the keys elsewhere with the same ending, such as optim.lr for lr or trainer.lr; [] if more than three."""
    keys = list(_dotted(cfg))
    last = key.rpartition(".")[2]
    for end in dict.fromkeys([key, last, ELSEWHERE.get(last, last)]):
        found = [name for name in keys if name.endswith(f".{end}")]
        if found:
            return found if len(found) <= 3 else []
    return []


def _dotted(node: Any, prefix: str = "") -> Iterator[str]:
    """Yield all dotted keys."""
    for key in node:
        yield f"{prefix}{key}"
        if OmegaConf.is_dict(node._get_node(key)):
            yield from _dotted(node._get_node(key), f"{prefix}{key}.")


def no_option(key: str, value: str, options: Sequence[str], own: Path | None) -> str:
    """Return what is wrong with the choice of an option that does not exist.

    Args:
        key: group.
        value: option that was chosen.
        options: all options of the group.
        own: the user's folder of config files, if there is one.
    """
    line = f"{key}: found {value!r}; {nearest(value, options)}"
    if key == "model" and value.lower().startswith(NETWORKS):
        return f"{line} For a model of torchvision, use model=torchvision model.arch={value.lower()}."
    extra = value.partition("_")[0]  # such as submitit for submitit_slurm
    if key in ("hydra/launcher", "hydra/sweeper") and extra in EXTRAS:
        return f"{line} To get {value}, {install(extra)}"
    if own is not None and (other := _other_ending(own / key / value)):
        return f"{key}: found {value!r}; {shown(other)} exists: rename it to {value}.yaml"
    if own is None and (folder := _folder_with(Path(key, value))):
        return f"{key}: found {value!r}; {folder / key}/{value}.yaml exists: add --config-dir {folder}"
    return line


def _other_ending(path: Path) -> Path | None:
    """Return an existing file with this name but another extension; None if there is none."""
    others = [path.with_name(path.name + ending) for ending in (".yml", "", ".YAML", ".yaml.txt", ".txt")]
    return next((other for other in others if other.is_file()), None)


def _folder_with(option: Path) -> Path | None:
    """Return a folder in the current one that contains this option; None if there is none."""
    if not re.fullmatch(r"[\w/.-]+", str(option)) or ".." in option.parts:
        return None
    try:
        folders = sorted(path for path in Path().iterdir() if path.is_dir())
        return next((folder for folder in folders if (folder / f"{option}.yaml").is_file()), None)
    except OSError:
        return None


def not_composed(text: str, error: Exception, loader: ConfigLoader) -> str:
    """Return why a choice or value does not compose, and how to correct the file.

    Args:
        text: the override.
        error: error of Hydra.
        loader: Hydra's config loader.
    """
    reason, *more = str(error.__cause__ or error).splitlines()
    reason = reason.rstrip(".")
    later = re.match(r"No earlier Group Default for '([^']+)'", "".join(more))
    if later:  # Hydra 1.4 words the message in this way
        reason = f"Could not override '{later[1]}'. No match in the defaults list"
    advice = _advice(text, reason, loader)
    return f"{text}: {reason}" + (f"; {advice}" if advice else "")


def _advice(text: str, reason: str, loader: ConfigLoader) -> str:
    """Return how to correct a mistake in a defaults list; "" for other errors."""
    chosen = text.partition("=")[0].lstrip("+~")  # group, such as experiment
    packaged = re.search(rf"Could not override '(\w+)@{chosen}\.", reason)
    if packaged:
        return "the first line of the file must be `# @package _global_`"
    relative = re.search(rf"Could not override '{chosen}/(\w+)(@\w+)?'", reason)
    if relative:
        return f"write the group with a slash: `- override /{relative[1]}: ...`"
    several = re.search(r"Multiple values for (\w+)\. .*'override \w+: (\S+)'", reason)
    if several:
        return f"write in the defaults list: `- override /{several[1]}: {several[2]}`"
    unknown = re.search(r"Could not override '([\w/]+)'\. No match", reason)
    if unknown:
        return f"groups: {nearest(unknown[1], loader.list_groups(''))}"
    absent = re.search(r"Could not find '([\w/]+)/([^/']+)'", reason)
    if absent:
        return nearest(absent[2], loader.get_group_options(absent[1]))
    return ""
