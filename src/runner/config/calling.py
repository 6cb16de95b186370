"""Call Hydra with the arguments of the command line, after checking what it would do with them."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from random import SystemRandom
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from runner.config.arguments import Typed
from runner.config.composition import CONF, VERSION_BASE, check_hydra
from runner.config.own_files import OWN, searching

SEEDS = 1_000_000  # from which the seed of a search is drawn


def call_hydra(task: Callable[[DictConfig], Any], asked: Typed) -> None:
    """Let Hydra compose the config and call the task or run the sweep, or answer --help and similar flags."""
    hydra_help = "--hydra-help" in asked.flags
    if not hydra_help and not {"--shell-completion", "-sc"} & {*asked.flags}:
        asked = with_seed(asked, check_hydra(asked))
    arguments = asked.flags if hydra_help else [*asked.flags, *asked.overrides]  # --hydra-help composes nothing
    with searching(asked.config_dir), hydra_called_with(arguments):
        hydra.main(config_path=str(CONF), config_name="config", **VERSION_BASE)(task)()


def with_seed(asked: Typed, cfg: DictConfig | None) -> Typed:
    """Return the arguments with a seed for the sampler of a search that has none, so that a resume can repeat it.

    Args:
        asked: arguments of the command line.
        cfg: their config; None if they concern neither sweeper nor launcher.
    """
    sampler = {} if cfg is None else cfg.hydra.sweeper.get("sampler") or {}
    if "seed" not in sampler or sampler["seed"] is not None or not {"-m", "--multirun"} & {*asked.flags}:
        return asked
    seed = f"hydra.sweeper.sampler.seed={SystemRandom().randrange(SEEDS)}"
    return replace(asked, overrides=[*asked.overrides, seed])


def describe_search(master: DictConfig) -> dict[str, Any] | None:
    """Return what a resume needs to repeat a search with Optuna, as plain values; None for any other sweep.

    Args:
        master: config of the sweep.
    """
    if not str(master.hydra.sweeper.get("_target_")).endswith(".OptunaSweeper"):
        return None
    typed: Any = OmegaConf.to_container(master.hydra.overrides)
    sources = {source.provider: source.path for source in master.hydra.runtime.config_sources}
    return {
        "overrides": [
            *(text for text in typed["hydra"] if not text.startswith(("hydra.mode=", "hydra.sweep."))),
            *typed["task"],
        ],
        "config_dir": sources.get(OWN),
        "config_name": master.hydra.job.config_name,
        "settings": settings_of(master),
    }


def settings_of(master: DictConfig) -> dict[str, Any]:
    """Return the config of the sweeper as plain values.

    Args:
        master: config of the sweep.
    """
    values: Any = OmegaConf.to_container(master.hydra.sweeper, resolve=True, enum_to_str=True)
    return dict(values)


@contextmanager
def hydra_called_with(arguments: list[str]) -> Iterator[None]:
    """Pass arguments to Hydra, and let it raise errors rather than print them and exit.

    Hydra takes both from global state: `sys.argv` and an environment variable. They are restored on exit.
    """
    argv, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = ["runner", *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = argv
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full_error
