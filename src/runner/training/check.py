"""Whether a config describes a run that can start, told before anything is built or created.

The parts are tried on torch's `meta` device, where tensors have shapes but no numbers: a whole model costs nothing. Two
samples are sent through them; a small model's weights are zeros for that.
"""

import torch

from runner.config.schema import Component, Config
from runner.dataset.base import Spec
from runner.errors import ConfigError
from runner.machine.device import resolve
from runner.plugins import load_plugins
from runner.registry import OPTIMIZERS, REGISTRIES
from runner.training.hints import hint_at_supplied
from runner.training.try_parts import gathering, try_parts

# Where code is not a user's own: the standard library, torch and the runner.


def check(config: Config, trains: bool = True) -> Spec:
    """Checks the whole config; returns the dataset's spec.

    Args:
        trains: whether there will be training; else what it alone needs is not asked for.

    Raises:
        ConfigError: with a line for each thing to mend.
    """
    load_plugins(config.plugins)
    problems: list[str] = []
    for group, registry in REGISTRIES.items():
        choice: Component = getattr(config, group)
        with gathering(problems):
            registry.check(choice.name, choice.values)
    problems = [problem + hint_at_supplied(problem) for problem in problems]
    with gathering(problems):
        check_groups(config)
    with gathering(problems):
        check_folds(config)
    with gathering(problems):
        device = resolve(config.device.name)
        if trains and config.trainer.cuda_graph:
            check_cuda_graph(config, device)
    if problems:
        raise ConfigError(*problems)
    return try_parts(config)


def check_groups(config: Config) -> None:
    """The keys and types of optim.groups; which parameters they match is tried with the model."""
    problems: list[str] = []
    for index, group in enumerate(config.optim.groups):
        values = {key: value for key, value in group.items() if key != "match"}
        with gathering(problems):
            OPTIMIZERS.check(config.optim.name, config.optim.values | values, f"optim.groups[{index}]")
    if problems:
        raise ConfigError(*problems)


def check_folds(config: Config) -> None:
    folds, fold = config.dataset.folds, config.dataset.fold
    if (folds is None) != (fold is None):
        raise ConfigError(f"dataset.folds and dataset.fold go together: found folds {folds}, fold {fold}")
    if folds is not None and fold is not None and fold >= folds:
        raise ConfigError(f"dataset.fold: found {fold}; with dataset.folds={folds}, 0 to {folds - 1} are allowed")


def check_cuda_graph(config: Config, device: torch.device) -> None:
    """The passes can be recorded, and the gradients used before the next batch overwrites them."""
    trainer, reason = config.trainer, None
    if device.type != "cuda":
        reason = f"needs an NVIDIA GPU; device={device}"
    elif trainer.compile:
        reason = "does not go with trainer.compile=true"
    elif trainer.accumulate > 1:
        reason = f"does not go with trainer.accumulate={trainer.accumulate}: each batch overwrites the gradients"
    if reason:
        raise ConfigError(f"trainer.cuda_graph: found true, which {reason}; allowed: false")
