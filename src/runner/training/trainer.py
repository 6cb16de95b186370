"""The argument `t` of the training loop's functions: the parts of a run, its state, and where results are recorded."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from typing import Protocol

from torch import Tensor

from runner.machine.signals import Stop
from runner.optim.closure import needs_closure
from runner.training.checkpoint import Checkpoints
from runner.training.parts import Parts
from runner.training.state import Clock, TrainState

Batch = tuple[Tensor, Tensor]


class Tracker(Protocol):
    """The interface through which the loop records metrics and progress."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Record scalars by tag."""

    def progress(self, step: int) -> None:
        """Report that a step is done."""

    def epoch(self, row: Mapping[str, float], state: TrainState) -> None:
        """Record the end of an epoch, with its row of metrics.csv."""

    def saved(self, state: TrainState) -> None:
        """Record the state that has just been saved in a checkpoint."""

    def positions(self) -> dict[str, int]:
        """Return the length of each growing file, to which a resume truncates it."""


@dataclass
class Trainer:
    """A run that is being trained.

    Args:
        parts: model, loss, optimizer, data and so on.
        state: everything else that changes from step to step.
        tracker: records metrics and progress.
        checkpoints: checkpoints of the run.
        stop: signals that ask the run to stop.
        should_stop: called with the epoch after each epoch; returns whether to end the run early, which a sweep may do.
            None for never.
        clock: measures the training time.
        saved_best: step of the best validation that has a checkpoint.
        losses: losses of the micro-batches since the last check for non-finite values.
    """

    parts: Parts
    state: TrainState
    tracker: Tracker
    checkpoints: Checkpoints
    stop: Stop
    should_stop: Callable[[int], bool] | None = None
    clock: Clock = field(default_factory=Clock)
    saved_best: int = 0
    losses: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.saved_best = self.state.best.step

    @cached_property
    def parameters(self) -> list[Tensor]:
        """The trainable parameters."""
        return [parameter for parameter in self.parts.model.parameters() if parameter.requires_grad]

    @cached_property
    def validation_period(self) -> tuple[int, str]:
        """The number of epochs or steps between validations, and which of the two it counts; parsed once."""
        return self.parts.config.trainer.validation_period

    @cached_property
    def needs_closure(self) -> bool:
        """Whether the optimizer evaluates the loss itself."""
        return needs_closure(self.parts.optimizer)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        if self.state.next == "stop":
            return True
        return self.state.next == "train" and (self.state.step >= self.parts.total_steps or self.out_of_patience)

    @property
    def out_of_patience(self) -> bool:
        """Whether early stopping ends the run."""
        patience = self.parts.config.trainer.early_stopping.patience
        return patience is not None and self.state.early.stale >= patience

    @property
    def improved(self) -> bool:
        """Whether the best validation so far has no checkpoint yet."""
        return self.state.best.step != self.saved_best

    @property
    def is_to_stop(self) -> bool:
        """Whether `should_stop` ends the run after this epoch; rank 0 decides."""
        if self.should_stop is None:
            return False
        world = self.parts.world
        return world.any(world.leads and self.should_stop(self.state.epoch))

    @property
    def epoch_is_over(self) -> bool:
        """Whether the last step of the epoch, or of the run, is done."""
        return self.state.position == self.parts.steps_per_epoch or self.state.step == self.parts.total_steps

    @property
    def log_is_due(self) -> bool:
        """Whether the current step is logged."""
        return (self.state.step + 1) % self.parts.config.trainer.log_every == 0

    @property
    def check_is_due(self) -> bool:
        """Whether the current step is checked for non-finite values.

        On an accelerator only logged steps are, because reading a value waits for the device.
        """
        return self.log_is_due or self.parts.device.type == "cpu"

    @property
    def samples_in_step(self) -> int:
        """Number of samples in the current step, on all ranks; the last step of an epoch may have fewer."""
        train = self.parts.train
        full = train.size * self.parts.config.trainer.accumulate
        return min(full, train.samples - self.state.position * full)

    def steps(self) -> Iterator[Iterable[Batch]]:
        """Yield, for each remaining step of the epoch, its micro-batches: at most `trainer.accumulate` batches."""
        accumulate = self.parts.config.trainer.accumulate
        start = self.state.position * accumulate
        batches = self.clock.waiting(self.state, self.parts.train.epoch(self.state.epoch, start=start))
        for first in batches:
            micro_batches = chain([first], islice(batches, accumulate - 1))
            yield list(micro_batches) if self.needs_closure else micro_batches
