"""Compose `conf/` with Hydra, and refuse configs that would make Hydra run code."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from runner.config.arguments import Typed, instead_of
from runner.config.own_files import searching
from runner.errors import ConfigError

PACKAGED = Path(__file__).parents[1] / "conf"  # where it is in a wheel
CONF = PACKAGED if PACKAGED.is_dir() else Path(__file__).parents[3] / "conf"
SAMPLER = re.compile(r"optuna\.samplers\.[A-Za-z]+")  # no submodule, which could lead to any other module
# Hydra 1.3 warns without this argument, and 1.4 with it.
VERSION_BASE = {"version_base": "1.3"} if hydra.__version__.startswith("1.3.") else {}
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, ValueError)  # Hydra raises ValueError for model=null


@contextmanager
def hydra_on_conf(config_dir: str | None = None) -> Iterator[ConfigLoader]:
    """Initialize Hydra with `conf/` and, before it, the user's folder of config files; yield Hydra's config loader."""
    GlobalHydra.instance().clear()
    with searching(config_dir), initialize_config_dir(str(CONF), **VERSION_BASE):
        yield GlobalHydra.instance().config_loader()


def value_by_value(override: Override) -> list[str]:
    """Return one override per value of a sweep; the override itself if it is not a sweep."""
    if override.is_sweep_override() and override.is_discrete_sweep():
        return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
    return [str(override.input_line)]


def check_hydra(typed: Typed) -> DictConfig | None:
    """Refuse settings of Hydra that would run code or have no effect, before Hydra acts on them; return the config.

    This composes the config, which takes 50 ms. It is skipped if Hydra's settings can only be those in `conf/`; then
    return None.

    Raises:
        ConfigError: with one line for each such key.
    """
    plain = typed.config_dir is None and typed.config_name == "config"
    if plain and not any("hydra" in text for text in typed.overrides):
        return None
    with hydra_on_conf(typed.config_dir) as loader:
        cfg = loader.load_configuration(typed.config_name, list(typed.overrides), RunMode.MULTIRUN)
    problems = [*code_in_hydra(cfg), *_without_effect(cfg), *unknown_directions(cfg)]
    if problems:
        raise ConfigError(*problems)
    return cfg


def code_keys(node: Any, path: str = "") -> Iterator[str]:
    """Yield a line for each key by which a config would name code."""
    if OmegaConf.is_config(node):
        keys = range(len(node)) if OmegaConf.is_list(node) else list(node)
        for key in keys:
            here = f"{path}.{key}".lstrip(".")
            if key in ("_target_", "_partial_", "_args_", "_convert_", "_recursive_"):
                yield f"{here}: a config cannot name code; choose a registered component by `name`"
            if not OmegaConf.is_missing(node, key) and not OmegaConf.is_interpolation(node, key):
                yield from code_keys(node._get_node(key), here)


def code_in_hydra(cfg: DictConfig) -> Iterator[str]:
    """Yield a line for each key of Hydra by which a config names code."""
    for key in ("callbacks", "sweeper.custom_search_space"):
        if OmegaConf.select(cfg.hydra, key):
            yield f"hydra.{key}: refused: {instead_of(f'hydra.{key}')}"
    for key in ("job_logging", "hydra_logging"):
        logging = cfg.hydra[key]
        if (logging is not None and logging.keys() - {"version", "root", "disable_existing_loggers"}) or logging.root:
            yield f"hydra.{key}: refused: {instead_of(f'hydra.{key}')}"
    for path, target in _targets(cfg.hydra, "hydra", set()):
        known = path in ("hydra.launcher._target_", "hydra.sweeper._target_")
        if not known and not (path.startswith("hydra.sweeper.") and SAMPLER.fullmatch(str(target))):
            yield f"{path}: found {target!r}; a config cannot name code"


def _targets(node: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield the path and the value of each `_target_` in a config, following interpolations."""
    if id(node) in seen:
        return
    seen.add(id(node))
    for key in range(len(node)) if OmegaConf.is_list(node) else list(node):
        try:
            value = node[key]
        except (OmegaConfBaseException, RecursionError):
            value = None  # missing, or set by Hydra later
        if key == "_target_":
            yield f"{path}.{key}", value
        elif OmegaConf.is_config(value):
            yield from _targets(value, f"{path}.{key}", seen)


def _without_effect(cfg: DictConfig) -> Iterator[str]:
    """Yield a line for each key of Hydra that has no effect here, but that a config file sets."""
    allowed = {"run.dir": ".", "sweep.dir": ".", "sweep.subdir": ".", "output_subdir": None, "job.chdir": False}
    for key, value in allowed.items():
        found = OmegaConf.to_container(cfg.hydra)
        for part in key.split("."):
            found = found[part]  # type: ignore[index,call-overload]
        if found != value:
            yield f"hydra.{key}: found {found!r}; refused: {instead_of(f'hydra.{key}')}"


def unknown_directions(cfg: DictConfig) -> Iterator[str]:
    """Yield a line for each direction of a search that is neither minimize nor maximize."""
    found = OmegaConf.to_container(cfg.hydra.sweeper, enum_to_str=True)
    assert isinstance(found, dict)
    directions = found.get("direction")
    for each in directions if isinstance(directions, list) else [directions]:
        if each not in (None, "minimize", "maximize"):
            yield f"hydra.sweeper.direction: found {each!r}; allowed: minimize, maximize"
