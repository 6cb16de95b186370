"""Hydra on `conf/`, as config.py composes with it and problems.py looks for what is wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

PACKAGED = Path(__file__).parent / "conf"  # in a wheel
CONF = PACKAGED if PACKAGED.is_dir() else Path(__file__).parents[2] / "conf"
# Hydra 1.3 wants to be told which defaults to use; 1.4 has only the current ones and warns of the argument.
VERSION_BASE = {"version_base": "1.3"} if hydra.__version__.startswith("1.3.") else {}
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, ValueError)  # the last one for `model=null`


@contextmanager
def hydra_on_conf() -> Iterator[ConfigLoader]:
    """Lets Hydra's `compose` read `conf/`; gives its loader, which knows the groups."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), **VERSION_BASE):
        yield GlobalHydra.instance().config_loader()


def value_by_value(override: Override) -> list[str]:
    """The overrides that a sweep makes of one; just itself when it is no sweep."""
    if override.is_sweep_override() and override.is_discrete_sweep():
        return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
    return [str(override.input_line)]
