"""Freeze a config in a file, and read it back with changes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from runner.config.compose import typed
from runner.config.composition import COMPOSITION_ERRORS, CONF, hydra_on_conf
from runner.config.metric_mode import reset_modes
from runner.config.own_files import own_folder
from runner.config.problems import parse_known
from runner.config.yaml_file import read_yaml
from runner.errors import ConfigError

if TYPE_CHECKING:
    from runner.config.schema import Config


def freeze(values: "Config | list[str]") -> str:
    """Return a config or overrides as YAML, for `thaw` or `read_overrides`."""
    plain = values if isinstance(values, list) else values.model_dump()
    return OmegaConf.to_yaml(OmegaConf.create(plain))


def read_overrides(path: Path) -> list[str]:
    """Return the overrides in a file as they were typed; [] if there is no such file.

    Raises:
        ConfigError: the file is damaged.
    """
    try:
        texts = read_yaml(path) if path.exists() else []  # not with OmegaConf, which would resolve each ${...}
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise ConfigError(f"{path}: damaged: {' '.join(str(error).split())}") from error
    if not isinstance(texts, list):
        raise ConfigError(f"{path}: damaged: it does not contain a list")
    return [str(text) for text in texts]


def thaw(path: Path, overrides: Sequence[str] = (), config_dir: str | None = None) -> "Config":
    """Return the config in a file, changed by overrides.

    Args:
        path: file of a frozen config.
        overrides: overrides of values, and choices of groups.
        config_dir: the user's folder of config files, with further choices.

    Raises:
        ConfigError: the file is damaged, or an override is invalid.
    """
    own = own_folder(config_dir)
    folders = [CONF, *([own] if own else [])]
    try:
        read_yaml(path)  # limits the expansion of aliases, which OmegaConf does not
        cfg = OmegaConf.load(path)
        if not isinstance(cfg, DictConfig):
            raise ConfigError(f"{path}: damaged: it does not contain keys and values")
        OmegaConf.set_struct(cfg, True)
        for override in parse_known([*reset_modes(overrides), *overrides], cfg, folders):
            if override.is_sweep_override() or override.is_delete():
                raise ConfigError(f"{override.input_line}: expected KEY=VALUE, with a single value")
            group, choice = override.key_or_group, override.value()
            if isinstance(choice, str) and any((each / group / f"{choice}.yaml").is_file() for each in folders):
                choice = compose_group(group, choice, config_dir)
            OmegaConf.update(cfg, group, choice, merge=False)
    except (OSError, YAMLError, *COMPOSITION_ERRORS) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from error
    try:
        return typed(cfg)
    except ConfigError as error:
        if any(line.endswith(": missing") for line in error.problems):
            hint = f"{path}: keys are missing: the file may be from another version of runner; see environment.json"
            raise ConfigError(*error.problems, hint) from error
        raise


def compose_group(group: str, option: str, config_dir: str | None) -> Any:
    """Return the values of an option of a group, as plain Python values."""
    with hydra_on_conf(config_dir):
        return OmegaConf.to_container(compose("config", [f"{group}={option}"])[group], resolve=True)
