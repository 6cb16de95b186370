"""The parts of a run."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from runner.config.schema import Config
from runner.data.batches import Batches
from runner.dataset.base import Spec
from runner.machine.distributed import ALONE, World
from runner.training.ema import MovingAverage
from runner.training.schedule import load_plateau, replay, schedule_length

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Parts:
    """All parts of a run, on its device.

    Args:
        config: config of the run.
        spec: spec of the dataset.
        device: device of the run.
        model: the model itself, which owns the weights.
        forward: function that calls the model; it may be compiled, or captured as a CUDA graph.
        ema: moving average of the weights; None if the config does not ask for it.
        loss: the loss function.
        optimizer: the optimizer.
        scheduler: the learning-rate scheduler.
        scaler: gradient scaler for fp16; disabled for other precisions.
        train: batches of the training split.
        val: batches of the validation split.
        test: batches of the test split.
        data: fingerprint of the training split.
        world: the processes that train together.
    """

    config: Config
    spec: Spec
    device: torch.device
    model: nn.Module
    forward: Callable[[Tensor], Tensor]
    ema: MovingAverage | None
    loss: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler
    scaler: torch.amp.GradScaler
    train: Batches
    val: Batches
    test: Batches
    data: str
    world: World = ALONE

    @property
    def judged(self) -> nn.Module:
        """The model to validate and test, with averaged weights if there are any."""
        return self.model if self.ema is None else self.ema.module

    @cached_property
    def steps_per_epoch(self) -> int:
        """Number of optimizer updates per epoch."""
        return self.config.trainer.steps_per_epoch(len(self.train))

    @cached_property
    def total_steps(self) -> int:
        """Number of optimizer updates in the whole run."""
        return self.config.trainer.total_steps(len(self.train))

    @cached_property
    def schedule_length(self) -> int:
        """Number of scheduler steps in the whole run."""
        return schedule_length(self.config, len(self.train))

    @property
    def reduction(self) -> str:
        """The reduction of the loss over the batch: mean, sum or none."""
        return getattr(self.loss, "reduction", "mean")

    def autocast(self, cache_enabled: bool = True) -> AbstractContextManager[object]:
        """Return the context of a forward pass in the run's precision.

        Args:
            cache_enabled: whether to cache the weights that are cast to that precision.
        """
        if self.config.trainer.precision == "fp32":
            return nullcontext()
        dtype = PRECISIONS[self.config.trainer.precision]
        return torch.autocast(self.device.type, dtype, cache_enabled=cache_enabled)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all parts as plain types and tensors, under the keys of a checkpoint."""
        return {
            "model": self.model.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "total_steps": self.schedule_length,
        }

    def load_weights(self, state: Mapping[str, Any]) -> None:
        """Load only the weights of a checkpoint, including the averaged weights if it has any.

        If `trainer.ema` is null now, the averaged weights replace the weights of the model.
        """
        self.model.load_state_dict(state["model"])
        averaged = state["ema"]
        if self.ema is None:
            if averaged is not None:
                self.model.load_state_dict(averaged["module"])
        elif averaged is None:
            self.ema.module.load_state_dict(state["model"])
        else:
            self.ema.load_state_dict(averaged)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load all parts from a checkpoint."""
        self.load_weights(state)
        self.scaler.load_state_dict(state["scaler"])
        if isinstance(self.scheduler, ReduceLROnPlateau):
            keep = self.config.trainer.checkpoint
            same_metric = (state["best"]["metric"], state["best"]["mode"]) == (keep.metric, keep.mode)
            self.optimizer.load_state_dict(state["optimizer"])
            load_plateau(self.scheduler, state["scheduler"], same_metric)
        elif state["total_steps"] == self.schedule_length:
            self.optimizer.load_state_dict(state["optimizer"])
            self.scheduler.load_state_dict(state["scheduler"])
        else:  # the length of the run has changed, and with it the schedule
            done = state["step"] if self.config.scheduler.interval == "step" else state["epoch"]
            groups = replay(self.optimizer, self.scheduler, done)
            self.optimizer.load_state_dict(state["optimizer"])
            for group, values in zip(self.optimizer.param_groups, groups, strict=True):
                group.update(values)
