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
    choice = config.optim
    params = parameter_groups(model, choice.groups)
    values = choice.values
    if config.trainer.precision == "fp16" and "fused" in values:
        # When the scaler skips the first step, torch's fused SGD keeps as momentum what was in memory before.
        values |= {"fused": None}
    optimizer: Optimizer = OPTIMIZERS.build(choice.name, values, params=params)
    allow_late_gradients(optimizer)
    return optimizer


def parameter_groups(model: nn.Module, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Parameters with values of their own, chosen by name; the first pattern that matches wins.

    Args:
        groups: each a pattern for names under `match`, such as "*.bias", and the values for what it matches.

    Raises:
        ConfigError: a pattern is missing or matches no parameter.
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
    """Return the scheduler; its `total_steps` count its own steps, which are steps or epochs of the run.

    Raises:
        ConfigError: one that waits for a plateau is to step by steps.
    """
    choice = config.scheduler
    # A false alarm where the first step was made before a resume, or skipped by the scaler of fp16.
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
            f"scheduler.interval: found 'step'; {choice.name} looks after each validation and needs 'epoch'; "
            "trainer.validate_every='100 steps' has it look more often"
        )
    return scheduler
