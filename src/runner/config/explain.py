"""What is wrong with one override, in words that say how to mend it: Hydra's reasons, and what users meant."""

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
from runner.errors import ELSEWHERE, nearest

COMMANDS = ("resume", "evaluate", "predict", "compare", "export", "components")
STARTED = ("train", "run", "start", "fit")  # what others call the command that has no name here
EXTRAS = ("optuna", "submitit", "ray")  # what pip installs beside the runner for other sweepers and launchers
NETWORKS = (
    *("resnet", "vgg", "efficientnet", "mobilenet", "densenet", "alexnet", "convnext", "vit_", "swin"),
    *("squeezenet", "shufflenet", "googlenet", "inception", "regnet", "mnasnet", "maxvit", "wide_resnet", "resnext"),
)
EMPTY = {"logger": "none", "scheduler": "constant"}  # the option of a group that does nothing


def in_words(error: Exception) -> str:
    """Return Hydra's error, where nothing better is known."""
    listed = re.match(r"Ambiguous value for argument '((.+?)=.*)'", str(error))
    if listed:
        text, key = listed.groups()
        return f"{text}: several values are a sweep, which needs -m; a list is written in brackets: {key}=[...]"
    return str(error).split("\n\n")[0]  # Hydra's search path follows


def spaced(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Find overrides that the shell has split at their spaces.

    Returns:
        a line for each of them.
        the other texts.
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
    """Return how many of the first texts are one override, and what is wrong with it; 0 and "" for none."""
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
        return 2, f"{key}: needs its value after a '=', without spaces: did you mean {key}={second}?"
    if "=" in first and _open(first):
        for count in range(2, len(texts) + 1):
            whole = " ".join(texts[:count])
            if not _open(whole):
                return count, f"{whole}: the shell splits it at its spaces; quote it: {_in_shell(whole)}"
    return 0, ""


def _open(text: str) -> bool:
    """Return whether brackets are left open."""
    return any(text.count(left) > text.count(right) for left, right in ("[]", "{}", "()"))


def _in_shell(text: str) -> str:
    """Return a text as a word for the shell."""
    return f"'{text}'" if "$" in text or '"' in text else f'"{text}"'


def unreadable(text: str, before: str, error: HydraException) -> str:
    """Return what is wrong with an override that Hydra cannot read.

    Args:
        before: the one that was typed before it, or nothing.
    """
    key, equals, value = text.partition("=")
    if equals:
        reason, quoted = str(error).splitlines()[0], _quoted(key, value)
        advice = f"quote the value: {quoted}" if quoted else "expected key=value"
        return f"{text}: cannot be read: {reason}; {advice}"
    if text in STARTED and "=" not in before:
        return f"{text}: is no command: a run is started without one: python -m runner model=mlp optim.lr=0.1"
    if text in ("help", "version"):
        return f"{text}: is no command; type: python -m runner --{text}"
    line = f"{text}: is no command and no key=value; commands: {', '.join(COMMANDS)}"
    if ":" in text:
        return f"{line}. Did you mean {text.replace(':', '=', 1)}?"
    meant = get_close_matches(text, COMMANDS, n=1)
    if meant:
        return f"{line}. Did you mean {meant[0]}?"
    if "=" in before:
        return f"{line}. A value with spaces is quoted: {_in_shell(f'{before} {text}')}"
    return line


def _quoted(key: str, value: str) -> str | None:
    """Return an override with its value in quotes, as typed in a shell; None where that does not help."""
    inner = '"' if "$" in value or "'" in value else "'"
    text = f"{key}={inner}{value}{inner}"
    try:
        OverridesParser.create().parse_override(text)
    except HydraException:
        return None
    return f"'{text}'" if inner == '"' else f'"{text}"'


def left_out(group: str, options: Sequence[str]) -> str:
    """Return what to write in place of `~group`."""
    if group in EMPTY:
        return f"~{group}: a group cannot be left out; write {group}={EMPTY[group]}"
    return f"~{group}: a group cannot be left out; choose one: {', '.join(sorted(options))}"


def no_such_key(key: str, cfg: DictConfig) -> str | None:
    """Return what is wrong with the key of a value; None when the config has it."""
    node: Any = cfg
    for part in key.split("."):
        if not OmegaConf.is_dict(node):
            return f"{key}: no such key"
        if part not in node and not OmegaConf.is_missing(node, part):
            elsewhere = _elsewhere(key, cfg)
            hint = f"did you mean {' or '.join(elsewhere)}?" if elsewhere else nearest(part, map(str, node))
            return f"{key}: no such key; {hint}"
        node = node._get_node(part)
    return None


def _elsewhere(key: str, cfg: DictConfig) -> list[str]:
    """Return the keys of other groups that end like `key`, where they are few: optim.lr for lr and trainer.lr."""
    keys = list(_dotted(cfg))
    last = key.rpartition(".")[2]
    for end in dict.fromkeys([key, last, ELSEWHERE.get(last, last)]):
        found = [name for name in keys if name.endswith(f".{end}")]
        if found:
            return found if len(found) <= 3 else []
    return []


def _dotted(node: Any, prefix: str = "") -> Iterator[str]:
    """Give all keys, with those of their groups before them."""
    for key in node:
        yield f"{prefix}{key}"
        if OmegaConf.is_dict(node._get_node(key)):
            yield from _dotted(node._get_node(key), f"{prefix}{key}.")


def no_option(key: str, value: str, options: Sequence[str], own: Path | None) -> str:
    """Return what is wrong with a choice that its group does not have.

    Args:
        own: the folder of --config-dir.
    """
    line = f"{key}: found {value!r}; {nearest(value, options)}"
    if key == "model" and value.lower().startswith(NETWORKS):
        return f"{line} A network of torchvision is model=torchvision model.arch={value.lower()}."
    extra = value.partition("_")[0]  # submitit_slurm
    if key in ("hydra/launcher", "hydra/sweeper") and extra in EXTRAS:
        return f"{line} To get {value}: pip install 'runner[{extra}]'"
    if own is not None and (other := _other_ending(own / key / value)):
        return f"{key}: found {value!r}; {shown(other)} is there: rename it to {value}.yaml"
    if own is None and (folder := _folder_with(Path(key, value))):
        return f"{key}: found {value!r}; {folder / key}/{value}.yaml is there: add --config-dir {folder}"
    return line


def _other_ending(path: Path) -> Path | None:
    others = [path.with_name(path.name + ending) for ending in (".yml", "", ".YAML", ".yaml.txt", ".txt")]
    return next((other for other in others if other.is_file()), None)


def _folder_with(option: Path) -> Path | None:
    """Return a folder in the current one that has this option."""
    if not re.fullmatch(r"[\w/.-]+", str(option)) or ".." in option.parts:
        return None
    try:
        folders = sorted(path for path in Path().iterdir() if path.is_dir())
        return next((folder for folder in folders if (folder / f"{option}.yaml").is_file()), None)
    except OSError:
        return None


def not_composed(text: str, error: Exception, loader: ConfigLoader) -> str:
    """Return why a choice or value does not compose: Hydra's reason, and what to write in the file that has the fault.

    Args:
        loader: Hydra's, which knows the groups.
    """
    reason, *more = str(error.__cause__ or error).splitlines()
    reason = reason.rstrip(".")
    later = re.match(r"No earlier Group Default for '([^']+)'", "".join(more))
    if later:  # as Hydra 1.4 has it
        reason = f"Could not override '{later[1]}'. No match in the defaults list"
    advice = _advice(text, reason, loader)
    return f"{text}: {reason}" + (f"; {advice}" if advice else "")


def _advice(text: str, reason: str, loader: ConfigLoader) -> str:
    """Return what to write for a mistake in a defaults list; nothing where it is none."""
    chosen = text.partition("=")[0].lstrip("+~")  # experiment
    packaged = re.search(rf"Could not override '(\w+)@{chosen}\.", reason)
    if packaged:
        return "its first line has to be `# @package _global_`"
    relative = re.search(rf"Could not override '{chosen}/(\w+)(@\w+)?'", reason)
    if relative:
        return f"a group is written with a slash: `- override /{relative[1]}: ...`"
    several = re.search(r"Multiple values for (\w+)\. .*'override \w+: (\S+)'", reason)
    if several:
        return f"in its defaults list write `- override /{several[1]}: {several[2]}`"
    unknown = re.search(r"Could not override '([\w/]+)'\. No match", reason)
    if unknown:
        return f"groups: {nearest(unknown[1], loader.list_groups(''))}"
    absent = re.search(r"Could not find '([\w/]+)/([^/']+)'", reason)
    if absent:
        return nearest(absent[2], loader.get_group_options(absent[1]))
    return ""
