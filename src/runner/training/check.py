"""Check that a config describes a run that can start, before anything is created.

The parts are built on torch's meta device, whose tensors have shapes but no values, so that even a large model costs
nothing.
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


def check(config: Config, trains: bool = True) -> Spec:
    """Check the whole config.

    Args:
        config: a config whose settings have the right types.
        trains: whether the model will be trained; otherwise what only training needs is not checked.

    Returns:
        The spec of the dataset.

    Raises:
        ConfigError: with one line for each problem.
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
    """Check the keys and types in optim.groups. Whether each group matches parameters is checked by `try_parts`.

    Raises:
        ConfigError: with one line for each problem.
    """
    problems: list[str] = []
    for index, group in enumerate(config.optim.groups):
        values = {key: value for key, value in group.items() if key != "match"}
        with gathering(problems):
            OPTIMIZERS.check(config.optim.name, config.optim.values | values, f"optim.groups[{index}]")
    if problems:
        raise ConfigError(*problems)


def check_folds(config: Config) -> None:
    """Check that dataset.folds and dataset.fold are both set or both null, and that the fold exists.

    Raises:
        ConfigError: only one of them is set, or the fold does not exist.
    """
    folds, fold = config.dataset.folds, config.dataset.fold
    if (folds is None) != (fold is None):
        raise ConfigError(
            f"dataset.folds and dataset.fold: set both or none: found dataset.folds={folds}, dataset.fold={fold}"
        )
    if folds is not None and fold is not None and fold >= folds:
        raise ConfigError(f"dataset.fold: found {fold}; allowed with dataset.folds={folds}: 0 to {folds - 1}")


def check_cuda_graph(config: Config, device: torch.device) -> None:
    """Check that CUDA graphs are supported with the device and the other settings.

    Raises:
        ConfigError: the device is not an NVIDIA GPU, or another setting cannot be combined with CUDA graphs.
    """
    trainer, reason = config.trainer, None
    if device.type != "cuda":
        reason = f"needs an NVIDIA GPU; the device is {device}"
    elif trainer.compile:
        reason = "cannot be combined with trainer.compile=true"
    elif trainer.accumulate > 1:
        reason = f"cannot be combined with trainer.accumulate={trainer.accumulate}: each batch overwrites the gradients"
    if reason:
        raise ConfigError(f"trainer.cuda_graph: found true, which {reason}; allowed: false")
