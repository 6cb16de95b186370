"""The trainer, which the functions of the training loop share: the parts of a run, its state, and its tracker."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from typing import Protocol

import torch
from torch import Tensor

from runner.dataset.tree import samples
from runner.machine.signals import Stop
from runner.optim.closure import needs_closure
from runner.training.engine import Batch
from runner.training.finite import Watch
from runner.training.parts import Parts
from runner.training.saving.checkpoint import Checkpoints
from runner.training.saving.saver import Saver
from runner.training.state import Clock, TrainState

Weight = Tensor | int  # of a micro-batch in the mean over a step


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
        should_stop: called with the epoch after each epoch; returns whether to end the run early, which a sweep may do,
            or None to be called again later. None for never.
        clock: measures the training time.
        saved_best: step of the best validation that has a checkpoint.
        losses: losses of the micro-batches since the last check for non-finite values.
        watch: checks for them on an accelerator without a sync; None on the CPU, where each loss is read at once.
        step_weight: weight of all micro-batches of the current step, on all ranks; None if there is only one.
        timed_save_is_due: whether `checkpoint.every_minutes` asks for a checkpoint, on any rank.
        pending_sums: waits for the pending all-reduce of the last step, and returns its sums; None: none is pending.
    """

    parts: Parts
    state: TrainState
    tracker: Tracker
    checkpoints: Checkpoints
    stop: Stop
    should_stop: Callable[[int], bool | None] | None = None
    clock: Clock = field(default_factory=Clock)
    saved_best: int = 0
    losses: list[Tensor] = field(default_factory=list)
    watch: Watch | None = None
    step_weight: Weight | None = None
    timed_save_is_due: bool = False
    pending_sums: Callable[[], list[float]] | None = None

    def __post_init__(self) -> None:
        self.saved_best = self.state.best.step
        if self.parts.device.type != "cpu":
            self.watch = Watch(self.parts.device)
            self.watch.skip_updates_of(self.parts.optimizer)

    @cached_property
    def saver(self) -> Saver:
        """Writes checkpoints in the background."""
        return Saver(self.checkpoints)

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
        return self.state.next == "train" and (self.is_last_step or self.out_of_patience)

    @property
    def is_last_step(self) -> bool:
        """Whether the step that has been made is the last one of the run."""
        return self.state.step >= self.parts.total_steps or self.state.timed_out

    @property
    def out_of_patience(self) -> bool:
        """Whether early stopping ends the run."""
        patience = self.parts.config.trainer.early_stopping.patience
        return patience is not None and self.state.early.stale >= patience

    @property
    def best_is_unsaved(self) -> bool:
        """Whether the best validation so far has no checkpoint yet."""
        return self.state.best.step != self.saved_best

    @property
    def epoch_is_over(self) -> bool:
        """Whether the last step of the epoch, or of the run, is done."""
        return self.state.position == self.parts.steps_per_epoch or self.is_last_step

    @property
    def log_is_due(self) -> bool:
        """Whether the current step is logged."""
        return (self.state.step + 1) % self.parts.config.trainer.log_every == 0

    @property
    def losses_of_step(self) -> list[Tensor]:
        """The losses of the current step's micro-batches."""
        count = len(self.parts.world.own_shards) * self.parts.config.trainer.accumulate
        return self.losses[-count:]

    @property
    def samples_in_step(self) -> int:
        """Number of samples in the current step, on all ranks; the last step of an epoch may have fewer."""
        train = self.parts.train
        full = train.size * self.parts.config.trainer.accumulate
        return min(full, train.samples - self.state.position * full)

    def steps(self) -> Iterator["Step"]:
        """Yield the remaining steps of the epoch.

        A step is `accumulate` batches, and each batch is one micro-batch for each shard of this rank: those of the
        first batch come first.
        """
        accumulate, shards = self.parts.config.trainer.accumulate, len(self.parts.world.own_shards)
        start = self.state.position * accumulate
        batches = self.clock.waiting(self.state, self.parts.train.epoch(self.state.epoch, start=start))
        while self.goes_on() and (first := next(batches, None)) is not None:
            step: Iterable[Batch] = chain([first], islice(batches, accumulate * shards - 1))
            if self.needs_closure or shards > 1:  # iterated several times, or in the order of the shards
                step = list(step)
            if accumulate * shards > 1 or self.parts.world.size > 1:
                self.step_weight, step = self.weigh(first, step)
            yield Step(self, step)

    def goes_on(self) -> bool:
        """Return whether to train another step of the epoch; `verify` overrides this to stop at the end of a replay."""
        return True

    def weigh(self, first: Batch, batches: Iterable[Batch]) -> tuple[Weight, Iterable[Batch]]:
        """Return the weight of a step on all ranks, and its micro-batches.

        The number of samples is known; for any other weight, the micro-batches are read first.
        """
        weight, task = self.parts.weight(first[1]), self.parts.task
        # The weight of a built-in task is the number of samples in all micro-batches or in none, unless it is a tensor
        # or a collate function joins the samples. That of a user's task may be equal to it in this one by chance.
        is_built_in = type(task).__module__.startswith("runner.") and self.parts.train.source.stacks
        if is_built_in and isinstance(weight, int) and weight == samples(first[1]):
            return self.samples_in_step, batches
        world, shards, batches = self.parts.world, len(self.parts.world.own_shards), list(batches)
        weights = [sum(self.parts.weight(targets) for _, targets in batches[index::shards]) for index in range(shards)]
        total = torch.as_tensor(weights[0])
        if world.shards > 1:
            total = torch.tensor(world.sum_over_shards([[float(each)] for each in weights])[0])
        return total.clamp(min=1e-12), batches

    def agree_on_stop(self) -> bool | None:
        """Return whether `should_stop` ends the run after this epoch; None: ask again later. Rank 0 decides.

        All ranks call this, and agree on it and on whether a signal has come.
        """
        world = self.parts.world
        answer = self.should_stop(self.state.epoch) if self.should_stop is not None and world.is_leader else False
        if world.size == 1:
            return answer
        has_signal = self.stop.received is not None
        stops, waits, signals = world.start_all_reduce([answer is True, answer is None, has_signal])()
        self.stop.agree(signals > 0)
        return None if waits else stops > 0

    def start_all_reduce(self) -> None:
        """Start to all-reduce the loss, the stop request and the time limits; `finish_all_reduce` waits for it."""
        world, trainer = self.parts.world, self.parts.config.trainer
        limit, every = trainer.max_minutes, trainer.checkpoint.every_minutes
        is_over = limit is not None and self.clock.elapsed(self.state) >= 60 * limit
        is_due = every is not None and self.clock.since_save() >= 60 * every
        if world.size == 1:
            self.state.timed_out, self.timed_save_is_due = is_over, is_due
            return
        loss = torch.stack(self.losses).sum().item() if self.watch is None else 0.0
        self.pending_sums = world.start_all_reduce([loss, self.stop.received is not None, is_over, is_due])

    def finish_all_reduce(self) -> float:
        """Wait for the pending all-reduce, apply its stop and time limits, and return the summed loss."""
        if self.pending_sums is None:
            return 0.0
        loss, stop, is_over, is_due = self.pending_sums()
        self.stop.agree(stop > 0)
        self.state.timed_out, self.timed_save_is_due, self.pending_sums = is_over > 0, is_due > 0, None
        return loss


@dataclass(frozen=True)
class Step:
    """The micro-batches of a step. Iterating over them is one forward and backward pass over the step.

    Args:
        trainer: run that is being trained.
        batches: micro-batches of the step on this rank: for each batch, the shards of this rank; a list if iterated
            several times.
    """

    trainer: Trainer
    batches: Iterable[Batch]

    def __iter__(self) -> Iterator[Batch]:
        return self.trainer.parts.engine.micro_batches(self.batches, self.trainer.state.step)
