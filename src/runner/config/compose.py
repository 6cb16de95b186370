"""Compose overrides and `conf/` into a typed config."""

import copy
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from runner.config.arguments import instead_of
from runner.config.composition import COMPOSITION_ERRORS, code_in_hydra, code_keys, hydra_on_conf, value_by_value
from runner.config.problems import find_problems
from runner.errors import ConfigError

if TYPE_CHECKING:  # pydantic takes 0.1 s to import, and --help and --cfg do not need it
    from runner.config.schema import Config


def compose_config(overrides: Sequence[str] = ()) -> "Config":
    """Return the typed config of overrides, such as `compose_config(["model=mlp", "optim.lr=0.1"])`.

    Raises:
        ConfigError: an override is invalid; with one line for each problem.
    """
    try:
        with hydra_on_conf():
            return typed(compose("config", list(overrides)))
    except COMPOSITION_ERRORS as error:
        raise ConfigError(*(find_problems(overrides, None, typed) or [str(error)])) from error


class Composer:
    """Compose the configs of a sweep's jobs.

    Hydra takes 50 ms for each composition. Therefore jobs with the same group choices share one, and only their values
    are set in a copy of it. The result is the same, because Hydra itself sets values after it has composed the choices.

    Args:
        loader: Hydra's config loader.
        master: config of the sweep, whose flags, such as --config-dir, apply to all jobs.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self.loader, self.master = loader, master
        self._bases: dict[tuple[str, ...], DictConfig] = {}
        self._groups: dict[str, bool] = {}  # whether a key is a group; cached, because asking Hydra takes 1 ms

    @cached_property
    def constant(self) -> set[str]:
        """The keys that are overridden with a single value."""
        typed_in: Any = OmegaConf.to_container(self.master.hydra.overrides.task)
        parsed = OverridesParser.create().parse_overrides(typed_in)
        lists = {override.get_key_element() for override in parsed if override.is_sweep_override()}
        return {override.get_key_element() for override in parsed} - lists

    def compose(self, overrides: Sequence[str], explain: bool = True, number: int = 0) -> "Config":
        """Return the typed config of a job.

        Args:
            overrides: overrides of the job.
            explain: whether to find all problems if the composition fails.
            number: number of the job in its sweep, for ${hydra:job.num}.

        Raises:
            ConfigError: an override is invalid.
        """
        try:
            parsed = OverridesParser.create(config_loader=self.loader).parse_overrides(list(overrides))
            for each in parsed:
                if each.is_sweep_override():
                    raise ConfigError(f"{each.input_line}: one value at a time")
                if instead := instead_of(str(each.input_line)):
                    raise ConfigError(f"{each.input_line}: refused: {instead}")
            if all(self._is_group(each) or _is_value(each) for each in parsed):
                choices = tuple(str(each.input_line) for each in parsed if self._is_group(each))
                if choices not in self._bases:
                    self._bases[choices] = self._load(choices)
                cfg = copy.deepcopy(self._bases[choices])
                for each in parsed:
                    if not self._is_group(each):
                        OmegaConf.update(cfg, each.key_or_group, each.value(), merge=True)
            else:  # a key is added or deleted
                cfg = self._load(overrides)
            OmegaConf.set_struct(cfg, False)
            cfg.hydra.job.num, cfg.hydra.job.id = number, str(number)
            HydraConfig.instance().cfg = OmegaConf.create({"hydra": cfg["hydra"]})  # type: ignore[assignment]
            del cfg["hydra"]
        except COMPOSITION_ERRORS as error:
            problems = (
                find_problems(overrides, self.config_dir, typed, self.master.hydra.job.config_name) if explain else []
            )
            raise ConfigError(*(problems or [str(error)])) from error
        return typed(cfg)

    def _load(self, overrides: Sequence[str]) -> DictConfig:
        """Return the config of a job as Hydra composes it.

        Raises:
            ConfigError: the config names code that Hydra would run.
        """
        cfg = self.loader.load_sweep_config(self.master, list(overrides))
        if problems := list(code_in_hydra(cfg)):
            raise ConfigError(*problems)
        return cfg

    def choices(self, overrides: Sequence[str]) -> dict[str, list[str]]:
        """Return for each key a list of overrides: one per value if it is swept, otherwise a single one.

        Raises:
            ConfigError: an override cannot be parsed, has no values, or is a continuous range, which only a search can
                use.
        """
        try:
            parsed = OverridesParser.create(config_loader=self.loader).parse_overrides(list(overrides))
        except HydraException as error:
            raise ConfigError(str(error).splitlines()[0]) from error
        for each in parsed:
            if each.is_sweep_override() and not each.is_discrete_sweep():
                raise ConfigError(f"{each.input_line}: not a list of values; to search a range: hydra/sweeper=optuna")
        choices = {each.get_key_element(): value_by_value(each) for each in parsed}
        for each in parsed:
            if not choices[each.get_key_element()]:
                raise ConfigError(f"{each.input_line}: has no values")
        return choices

    def _is_group(self, override: Override) -> bool:
        """Return whether an override chooses an option of a group."""
        key = override.key_or_group
        if key not in self._groups:
            self._groups[key] = bool(self.loader.get_group_options(key))
        return self._groups[key]

    @property
    def flags(self) -> list[str]:
        """The flags with which a single run is composed from the same files."""
        name, folder = self.master.hydra.job.config_name, self.config_dir
        return [*(["--config-dir", folder] if folder else []), *(["--config-name", name] if name != "config" else [])]

    @property
    def config_dir(self) -> str | None:
        """The value of --config-dir, if it was given."""
        source = next((s for s in self.master.hydra.runtime.config_sources if s.provider == "command-line"), None)
        return None if source is None else str(source.path)


def _is_value(override: Override) -> bool:
    """Return whether an override changes a value, rather than adding or deleting a key."""
    return override.type == OverrideType.CHANGE and override.package is None


def typed(cfg: DictConfig) -> "Config":
    """Resolve all interpolations of a composed config and check the types of its values.

    Raises:
        ConfigError: with one line for each key that is unknown or missing, or whose value is broken or invalid.
    """
    problems = [*code_keys(cfg), *_broken(cfg)]
    if problems:
        raise ConfigError(*problems)

    from runner.config.parse import parse

    return parse(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]


def _broken(node: Any) -> Iterator[str]:
    """Yield a line for each missing value and each broken interpolation."""
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
