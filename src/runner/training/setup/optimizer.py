"""The optimizer and the learning-rate scheduler of a run."""

import warnings

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from runner.config.schema import Config
from runner.errors import ConfigError
from runner.optim.momentum import skips_on_device
from runner.registry import SCHEDULERS
from runner.training.setup.groups import assign, build_assigned
from runner.training.setup.schedule import schedule_length


def build_optimizer(config: Config, model: nn.Module) -> Optimizer:
    """Return the optimizer of the model's trainable parameters.

    Raises:
        ConfigError: an entry of `optim.groups` is invalid or matches no parameter, or the optimizers of the groups
            cannot be combined.
    """
    optimizer = build_assigned(config.optim, assign(config.optim, model))
    optimizer.register_load_state_dict_post_hook(match_memory_format)
    if config.trainer.precision == "fp16":
        choose_who_skips(optimizer)
        optimizer.register_load_state_dict_post_hook(choose_who_skips)  # a checkpoint also sets `fused`
    return optimizer


def match_memory_format(optimizer: Optimizer) -> None:
    """Bring the state of an optimizer into the memory format of its parameters, which torch's fused kernels assume.

    A checkpoint may be from a model in another format.
    """
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            fits = isinstance(value, Tensor) and value.shape == parameter.shape
            if fits and value.stride() != parameter.stride():
                state[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def choose_who_skips(optimizer: Optimizer) -> None:
    """Let the gradient scaler skip the steps with non-finite gradients itself if the optimizer's kernels would not.

    The scaler then waits for the device in each step. With an optimizer that has `_step_supports_amp_scaling`, it does
    not: it calls `optimizer.step` in each step, and leaves the rest to the fused kernels.
    """
    if not skips_on_device(optimizer) and hasattr(optimizer, "_step_supports_amp_scaling"):
        optimizer._step_supports_amp_scaling = False


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
