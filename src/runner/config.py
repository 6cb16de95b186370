"""From the command line and `conf/` to a checked config. Here, in cli.py and in the plugins alone Hydra is known."""

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from runner.errors import ConfigError, nearest
from runner.settings import Config, parse
from runner.yaml_file import read_yaml

PACKAGED = Path(__file__).parent / "conf"  # in a wheel
CONF = PACKAGED if PACKAGED.is_dir() else Path(__file__).parents[2] / "conf"
COMMANDS = ("resume", "evaluate", "predict", "compare", "export", "components")
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
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, ValueError)  # the last one for `model=null`


def compose_config(overrides: Sequence[str] = ()) -> Config:
    """The typed config of overrides, for use from Python: `compose_config(["model=mlp", "optim.lr=0.1"])`.

    Raises:
        ConfigError: the overrides do not compose, or a value is of the wrong type.
    """
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return typed(compose("config", list(overrides)))
    except COMPOSITION_ERRORS as error:
        raise ConfigError(*(find_problems(overrides, None) or [str(error)])) from error


class Composer:
    """Composes the jobs of a sweep.

    Composing anew takes Hydra 50 ms. So jobs that make the same choices share what these compose to, and only their
    values are set anew, as Hydra itself does after the choices.

    Args:
        loader: Hydra's.
        master: the config of the sweep itself, whose flags (such as --config-dir) hold for each job.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self.loader, self.master = loader, master
        self._bases: dict[tuple[str, ...], DictConfig] = {}
        self._groups: dict[str, bool] = {}  # asking Hydra takes a millisecond

    @cached_property
    def constant(self) -> set[str]:
        """The keys that were typed with one value."""
        typed_in: Any = OmegaConf.to_container(self.master.hydra.overrides.task)
        parsed = OverridesParser.create().parse_overrides(typed_in)
        lists = {override.get_key_element() for override in parsed if override.is_sweep_override()}
        return {override.get_key_element() for override in parsed} - lists

    @property
    def folder(self) -> Path | None:
        """The one that hydra.sweep.dir asks for."""
        chosen = str(self.master.hydra.sweep.dir)
        return None if chosen == "." else Path(chosen)

    def compose(self, overrides: Sequence[str], explain: bool = True) -> Config:
        """The typed config of a job.

        Args:
            explain: whether to look for what is wrong when it does not compose.

        Raises:
            ConfigError: the overrides do not compose, or a value is of the wrong type.
        """
        try:
            parsed = OverridesParser.create(config_loader=self.loader).parse_overrides(list(overrides))
            for each in parsed:
                if each.is_sweep_override():
                    raise ConfigError(f"{each.input_line}: one value at a time")
            if all(self._is_group(each) or _is_value(each) for each in parsed):
                choices = tuple(str(each.input_line) for each in parsed if self._is_group(each))
                if choices not in self._bases:
                    self._bases[choices] = self.loader.load_sweep_config(self.master, list(choices))
                cfg = copy.deepcopy(self._bases[choices])
                for each in parsed:
                    if not self._is_group(each):
                        OmegaConf.update(cfg, each.key_or_group, each.value(), merge=True)
            else:  # keys that are added or taken away
                cfg = self.loader.load_sweep_config(self.master, list(overrides))
            OmegaConf.set_struct(cfg, False)
            del cfg["hydra"]
        except COMPOSITION_ERRORS as error:
            problems = find_problems(overrides, self.config_dir) if explain else []
            raise ConfigError(*(problems or [str(error)])) from error
        return typed(cfg)

    def choices(self, overrides: Sequence[str]) -> dict[str, list[str]]:
        """For each key, an override for each value that is typed for it.

        Raises:
            ConfigError: one cannot be read, or is a range without steps, which only a sweeper that searches can use.
        """
        try:
            parsed = OverridesParser.create(config_loader=self.loader).parse_overrides(list(overrides))
        except HydraException as error:
            raise ConfigError(str(error).splitlines()[0]) from error
        for each in parsed:
            if each.is_sweep_override() and not each.is_discrete_sweep():
                raise ConfigError(f"{each.input_line}: lists no values; to search in it: hydra/sweeper=optuna")
        return {each.get_key_element(): _choices(each) for each in parsed}

    def _is_group(self, override: Override) -> bool:
        key = override.key_or_group
        if key not in self._groups:
            self._groups[key] = bool(self.loader.get_group_options(key))
        return self._groups[key]

    @property
    def config_dir(self) -> str | None:
        """The value of --config-dir."""
        source = next((s for s in self.master.hydra.runtime.config_sources if s.provider == "command-line"), None)
        return None if source is None else str(source.path)


def _is_value(override: Override) -> bool:
    """Whether it only sets another value."""
    return override.type == OverrideType.CHANGE and override.package is None


def typed(cfg: DictConfig) -> Config:
    """The config with every interpolation resolved and every value of the type that its key wants.

    Raises:
        ConfigError: with a line for each key that is unknown, missing, broken or of the wrong type.
    """
    problems = [*_code_keys(cfg), *_broken(cfg)]
    if problems:
        raise ConfigError(*problems)
    return parse(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]


def freeze(values: Config | list[str]) -> str:
    """YAML that composes to the same again."""
    plain = values.model_dump() if isinstance(values, Config) else values
    return OmegaConf.to_yaml(OmegaConf.create(plain))


def read_overrides(path: Path) -> list[str]:
    """The frozen overrides; none when there is no such file."""
    return [str(text) for text in OmegaConf.load(path)] if path.exists() else []


def thaw(path: Path, overrides: Sequence[str] = ()) -> Config:
    """A frozen config, with overrides of values.

    Raises:
        ConfigError: the file is damaged, or an override names no key of it.
    """
    try:
        read_yaml(path)  # bounds its aliases, which OmegaConf does not
        cfg = OmegaConf.load(path)
        if not isinstance(cfg, DictConfig):
            raise ConfigError(f"{path}: damaged: it holds no keys and values")
        OmegaConf.set_struct(cfg, True)
        for override in OverridesParser.create().parse_overrides(list(overrides)):
            if override.is_sweep_override():
                raise ConfigError(f"{override.input_line}: one value at a time")
            group, choice = override.key_or_group, override.value()
            if isinstance(choice, str) and (CONF / group / f"{choice}.yaml").is_file():
                choice = compose_group(group, choice)
            OmegaConf.update(cfg, group, choice, merge=False)
    except (OSError, YAMLError, *COMPOSITION_ERRORS) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from error
    return typed(cfg)


def _code_keys(node: Any, path: str = "") -> Iterator[str]:
    """Keys by which Hydra would name code to run."""
    if OmegaConf.is_config(node):
        keys = range(len(node)) if OmegaConf.is_list(node) else list(node)
        for key in keys:
            here = f"{path}.{key}".lstrip(".")
            if key in ("_target_", "_partial_", "_args_", "_convert_", "_recursive_"):
                yield f"{here}: a config cannot name code; choose a registered component by `name`"
            if not OmegaConf.is_missing(node, key) and not OmegaConf.is_interpolation(node, key):
                yield from _code_keys(node._get_node(key), here)


def _broken(node: Any) -> Iterator[str]:
    """Values that are missing, and interpolations that lead nowhere."""
    keys = range(len(node)) if OmegaConf.is_list(node) else list(node)
    for key in keys:
        try:
            value = node[key]
        except OmegaConfBaseException as error:
            reason = str(error).splitlines()[0]
            yield f"{node._get_full_key(key)}: found {node._get_node(key)._value()!r}; {reason}"
        else:
            if OmegaConf.is_config(value):
                yield from _broken(value)


def compose_group(group: str, option: str) -> Any:
    """The values of a group's option, as plain Python."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_container(compose("config", [f"{group}={option}"])[group], resolve=True)


def find_problems(
    overrides: Sequence[str], config_dir: str | None, check: Callable[[Config], object] = lambda config: None
) -> list[str]:
    """A line for each thing to mend in overrides that were refused; composing and checking stop at the first kind.

    Args:
        overrides: as typed; a sweep's lists are tried value by value.
        config_dir: searched before `conf/`.
        check: what the typed config has to pass; raises ConfigError.
    """
    search = [f"hydra.searchpath=[file://{Path(config_dir).resolve()}]"] if config_dir else []
    good: list[str] = []
    problems = []
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        options = GlobalHydra.instance().config_loader().get_group_options
        parsed = []
        for text in overrides:
            try:
                parsed.append(OverridesParser.create().parse_override(text))
            except HydraException as error:
                problems.append(_unreadable(text, overrides, str(error).splitlines()[0]))
        for override in sorted(parsed, key=lambda override: not options(override.key_or_group)):  # groups first
            fine = []
            for text in _choices(override):
                try:
                    compose("config", [*search, *good, text])
                    fine.append(text)
                except COMPOSITION_ERRORS as error:
                    cfg = compose("config", [*search, *good])
                    problems.append(_why_not(text, cfg, options(override.key_or_group)) or f"{text}: {error}")
            good += fine[:1]
        while True:  # each round without the overrides that were found wrong, so that they hide no others
            try:
                check(typed(compose("config", [*search, *good])))
                return problems
            except ConfigError as error:
                problems += [line for line in error.problems if line not in problems]
                wrong = [text for text in good if not options(_key(text)) and _is_told(_key(text), error.problems)]
                if not wrong:
                    return problems
                good = [text for text in good if text not in wrong]
            except COMPOSITION_ERRORS:  # what is left does not go together without the others
                return problems


def explain(error: Exception) -> str:
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


def _choices(override: Override) -> list[str]:
    """The overrides that a sweep makes of one; just itself when it is no sweep."""
    if override.is_sweep_override() and override.is_discrete_sweep():
        return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
    return [str(override.input_line)]


def _why_not(text: str, cfg: DictConfig, options: list[str]) -> str | None:
    """What is wrong with an override that does not compose with `cfg`; None when it is nothing usual."""
    key, value = _key(text), text.partition("=")[2]
    if options:
        if value in options:
            return None
        network = f" A network of torchvision is model=torchvision model.arch={value}."
        known = key == "model" and value.lower().startswith(NETWORKS)
        return f"{key}: found {value!r}; {nearest(value, options)}" + network * known
    node: Any = cfg
    for part in key.split("."):
        if not OmegaConf.is_dict(node):
            return f"{key}: no such key"
        if part not in node:
            elsewhere = [name for name in _dotted(cfg) if name.endswith(f".{key}")]  # a group left out: lr=0.1
            hint = f"did you mean {' or '.join(elsewhere)}?" if elsewhere else nearest(part, map(str, node))
            return f"{key}: no such key; {hint}"
        node = node[part]
    return None


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
