"""The optimizer and the learning-rate scheduler of a run."""

import warnings
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from runner.config.schema import Config
from runner.errors import ConfigError
from runner.optim.late import allow_late_gradients
from runner.registry import OPTIMIZERS, SCHEDULERS
from runner.training.schedule import schedule_length


def build_optimizer(config: Config, model: nn.Module) -> Optimizer:
    """Return the optimizer of the model's trainable parameters.

    Raises:
        ConfigError: a pattern in `optim.groups` is missing or matches no parameter.
    """
    choice = config.optim
    params = parameter_groups(model, choice.groups)
    values = choice.values
    if config.trainer.precision == "fp16" and "fused" in values:
        # If the gradient scaler skips the first step, torch's fused SGD leaves its momentum buffers uninitialized.
        values |= {"fused": None}
    optimizer: Optimizer = OPTIMIZERS.build(choice.name, values, params=params)
    allow_late_gradients(optimizer)
    return optimizer


def parameter_groups(model: nn.Module, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the parameter groups that `optim.groups` defines, and one more for the remaining parameters.

    A parameter belongs to the first group whose pattern matches its name.

    Args:
        model: model whose trainable parameters are grouped.
        groups: one mapping per group: under `match` a pattern for parameter names, such as "*.bias", and the optimizer
            arguments for these parameters.

    Raises:
        ConfigError: a pattern is missing, or matches no parameter that is still without a group.
    """
    rest = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    made = []
    for index, group in enumerate(groups):
        values = dict(group)
        pattern = values.pop("match", None)
        if not isinstance(pattern, str):
            raise ConfigError(f"optim.groups[{index}].match: needs a pattern for parameter names, such as '*.bias'")
        chosen = {name: rest.pop(name) for name in list(rest) if fnmatchcase(name, pattern)}
        if not chosen:
            raise ConfigError(
                f"optim.groups[{index}].match: {pattern!r} matches none of the parameters {', '.join(rest)}"
            )
        made.append({"params": list(chosen.values()), **values})
    return [*made, {"params": list(rest.values())}] if rest else made


def build_scheduler(config: Config, optimizer: Optimizer, batches_per_epoch: int) -> LRScheduler:
    """Return the learning-rate scheduler of the optimizer.

    Its argument `total_steps` counts calls of `scheduler.step()`: one per optimizer step or one per epoch, as
    `scheduler.interval` says.

    Args:
        config: config of the run.
        optimizer: optimizer whose learning rates are scheduled.
        batches_per_epoch: number of batches of the training split per epoch.

    Raises:
        ConfigError: `ReduceLROnPlateau` is combined with `scheduler.interval=step`.
    """
    choice = config.scheduler
    # A false alarm if the optimizer's first step was made before a resume, or skipped by the fp16 gradient scaler.
    warnings.filterwarnings("ignore", message=r"Detected call of `lr_scheduler.step\(\)` before")
    scheduler: LRScheduler = SCHEDULERS.build(
        choice.name,
        choice.values,
        optimizer=optimizer,
        total_steps=schedule_length(config, batches_per_epoch),
        last_epoch=-1,
        metric_mode=config.trainer.checkpoint.mode,
    )
    if choice.interval == "step" and isinstance(scheduler, ReduceLROnPlateau):
        raise ConfigError(
            f"scheduler.interval: found 'step'; {choice.name} is stepped after each validation and needs 'epoch'; "
            "trainer.validate_every='100 steps' steps it more often"
        )
    return scheduler
