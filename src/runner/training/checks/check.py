"""Check that a config describes a run that can start, before anything is created.

The parts are built on torch's meta device, whose tensors have shapes but no values, so that even a large model costs
nothing.
"""

import torch

from runner.config.schema import Component, Config
from runner.dataset.base import Dataset, Spec
from runner.errors import ConfigError
from runner.machine.device import resolve
from runner.machine.ranks import world_size
from runner.plugins import load_plugins
from runner.registry import DATASETS, REGISTRIES
from runner.training.checks.nondeterministic import check_deterministic
from runner.training.checks.try_parts import attempt, gathering, try_parts
from runner.training.setup.build_data import build_dataset
from runner.training.setup.groups import check_values, read_group
from runner.training.setup.hints import hint_at_missing


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
    with gathering(problems):
        DATASETS.check(config.dataset.name, config.dataset.values)
    dataset: Dataset | None = None if problems else attempt(config, "dataset", build_dataset, problems)
    for group, registry in REGISTRIES.items():
        choice: Component = getattr(config, group)
        if registry is not DATASETS:
            with gathering(problems):
                # A dataset that cannot be built may supply any parameter.
                optional = registry.parameters(choice.name) if dataset is None else dataset.spec.supplies
                registry.check(choice.name, choice.values, optional=optional)
    supplies = () if dataset is None else dataset.spec.supplies
    problems = [problem + hint_at_missing(problem, supplies) for problem in problems]
    with gathering(problems):
        check_groups(config)
    with gathering(problems):
        check_folds(config)
    with gathering(problems):
        if trains:
            check_shards(config)
    with gathering(problems):
        device = resolve(config.device.name)
        if trains and config.trainer.cuda_graph:
            check_cuda_graph(config, device)
    if problems or dataset is None:
        raise ConfigError(*problems)
    spec = try_parts(config, dataset)
    if trains:
        check_deterministic(config, dataset, device)
    return spec


def check_groups(config: Config) -> None:
    """Check the keys and types in optim.groups. Whether each group matches parameters is checked by `try_parts`.

    Raises:
        ConfigError: with one line for each problem.
    """
    problems: list[str] = []
    for index in range(len(config.optim.groups)):
        with gathering(problems):
            check_values(config.optim, read_group(config.optim, index))
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
        reason = f"cannot be combined with trainer.compile={str(trainer.compile).lower()}"
    elif trainer.accumulate > 1:
        reason = f"cannot be combined with trainer.accumulate={trainer.accumulate}"
    elif world_size() > 1 or trainer.shards > 1:
        reason = "cannot be combined with several processes or trainer.shards"
    if reason:
        raise ConfigError(f"trainer.cuda_graph: found true, which {reason}; allowed: false")


def check_shards(config: Config) -> None:
    """Check that the shards can be divided among the ranks.

    Raises:
        ConfigError: they cannot.
    """
    shards, size = config.trainer.shards, world_size()
    if shards > 1 and shards % size:
        allowed = ", ".join(str(2**power) for power in range(shards.bit_length()))
        raise ConfigError(f"trainer.shards: found {shards} with {size} processes; allowed: {allowed} processes")
