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
from runner.data.sources import content
from runner.dataset.base import Spec
from runner.dataset.tree import Tree, samples
from runner.errors import CheckpointError
from runner.machine.distributed import ALONE, World
from runner.task.base import Task
from runner.training.ema import MovingAverage
from runner.training.engine import Engine
from runner.training.measuring.metric_set import MetricSet
from runner.training.setup.schedule import load_plateau, replay, schedule_length

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Parts:
    """All parts of a run, on its device.

    Args:
        config: config of the run.
        spec: spec of the dataset.
        task: how the model is called, and what the loss and the metrics compare.
        metric_set: metrics of the run.
        device: device of the run.
        model: the model itself, which owns the weights.
        engine: computes the gradient of a step, in one process or in several.
        ema: moving average of the weights; None if the config does not ask for it.
        loss: the loss function.
        optimizer: the optimizer.
        scheduler: the learning-rate scheduler.
        scaler: gradient scaler for fp16; disabled for other precisions.
        train: batches of the training split.
        val: batches of the validation split.
        test: batches of the test split.
        fingerprint: hash of the training split.
        world: the processes that train together.
    """

    config: Config
    spec: Spec
    task: Task
    metric_set: MetricSet
    device: torch.device
    model: nn.Module
    engine: Engine
    ema: MovingAverage | None
    loss: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler
    scaler: torch.amp.GradScaler
    train: Batches
    val: Batches
    test: Batches
    fingerprint: str
    world: World = ALONE

    @property
    def forward(self) -> Callable[..., Any]:
        """The function that calls the model in training; it may be compiled, data-parallel, or a CUDA graph."""
        return self.engine.forward

    @property
    def eval_model(self) -> nn.Module:
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

    @cached_property
    def samples_hash(self) -> str | None:
        """A hash of the samples of all splits; None if they are not in memory."""
        return content(batches.source for batches in (self.train, self.val, self.test))

    @property
    def reduction(self) -> str:
        """The reduction of the loss over the batch: mean, sum or none."""
        return getattr(self.loss, "reduction", "mean")

    def weight(self, targets: Tree) -> Tensor | int:
        """Return the weight of a micro-batch in the mean over a step; its number of samples if the loss is a sum."""
        return samples(targets) if self.reduction == "sum" else self.task.weight(targets)

    def predict(self, inputs: Tree) -> Any:
        """Return the outputs of the model that is validated and tested, averaged over mirrored images for `tta`."""
        outputs = self.task.forward(self.eval_model, inputs)
        if self.config.trainer.tta is None:
            return outputs
        mirrored = self.task.forward(self.eval_model, inputs.flip(-1))
        return (outputs + (mirrored.flip(-1) if outputs.ndim == inputs.ndim else mirrored)) / 2  # masks, or classes

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
        """Load all parts from a checkpoint.

        Raises:
            CheckpointError: the names or shapes of the weights are not those of the model.
        """
        try:
            self.load_weights(state)
        except RuntimeError as error:  # which lists the weights that do not fit
            name = self.config.model.name
            raise CheckpointError(f"the checkpoint does not fit model={name}; has its code changed? {error}") from error
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
