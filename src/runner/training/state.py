"""The state of the training loop: everything that changes during training, except for the parts themselves."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from runner.config.metric_mode import Mode
from runner.errors import RunnerError
from runner.machine.distributed import ALONE, World
from runner.training.measuring.metric_set import MetricSet
from runner.training.measuring.metrics import Metrics
from runner.training.measuring.shard_metrics import ShardMetrics

T = TypeVar("T")
Next = Literal["train", "validate", "end epoch", "decide", "stop"]
PER_SHARD = ("recent", "window", "sums")  # fields of TrainState that each shard has for itself


@dataclass
class Best:
    """The best value of a metric so far.

    Args:
        metric: name of the metric, such as val/loss.
        mode: min or max.
        min_delta: smallest change that counts as an improvement.
        value: best value; None before the first one.
        epoch: epoch of the best value.
        step: step of the best value.
        stale: number of validations since the best one.
    """

    metric: str
    mode: Mode
    min_delta: float = 0.0
    value: float | None = None
    epoch: int = 0
    step: int = 0
    stale: int = 0

    def update(self, metrics: dict[str, float], epoch: int, step: int) -> bool:
        """Record a validation, and return whether its value is the best so far; a non-finite value never is.

        Args:
            metrics: metrics of the validation by name, such as val/loss.
            epoch: epoch of the validation, counted from 1.
            step: step of the validation.
        """
        if self.metric not in metrics:
            raise RunnerError(f"{self.metric}: chosen by the config, but not measured; found {', '.join(metrics)}")
        value = metrics[self.metric]
        sign = 1 if self.mode == "max" else -1
        better = math.isfinite(value) and (self.value is None or sign * (value - self.value) > self.min_delta)
        if better:
            self.value, self.epoch, self.step, self.stale = value, epoch, step, 0
        else:
            self.stale += 1
        return better


@dataclass
class TrainState:
    """The state of the training loop.

    Args:
        best: best value of the metric that selects best.pt.
        early: best value of the metric that early stopping monitors.
        recent: metrics of the latest steps, not yet added to `window` and `sums`.
        window: metrics since the last log.
        sums: metrics since the start of the epoch.
        epoch: number of completed epochs.
        step: number of optimizer updates.
        position: number of optimizer updates in the current epoch.
        next: what to do next: train, validate (also if a validation was interrupted), end the epoch, or stop early.
        validated: step of the last validation.
        val: metrics of the last validation.
        train: metrics of the last epoch.
        timed_out: whether `max_minutes` has ended the run.
        seconds: training time.
        epoch_seconds: training time in the current epoch.
        data_seconds: time spent waiting for batches.
        lr: learning rate of the last step.
    """

    best: Best
    early: Best
    recent: Metrics
    window: Metrics
    sums: Metrics
    epoch: int = 0
    step: int = 0
    position: int = 0
    next: Next = "train"
    validated: int = 0
    val: dict[str, float] = field(default_factory=dict)
    train: dict[str, float] = field(default_factory=dict)
    timed_out: bool = False
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    data_seconds: float = 0.0
    lr: float = 0.0

    @classmethod
    def start(
        cls, metric_set: MetricSet, device: torch.device, best: Best, early: Best, world: World = ALONE
    ) -> "TrainState":
        """Return the state before the first step."""
        recent, window = (Metrics(metric_set, device, world, only_sums=True) for _ in range(2))
        return cls(best, early, recent, window, Metrics(metric_set, device, world))

    def record(self, loss: Tensor, weight: Tensor | int, outputs: Any, targets: Any) -> None:
        """Add a micro-batch to the metrics; see `Metrics.update`."""
        self.recent.update(loss, weight, outputs, targets)
        self.sums.shard.update_others(outputs, targets)

    def merge_recent(self) -> None:
        """Add the recent metrics to those of the log window and of the epoch."""
        self.window.add(self.recent)
        self.sums.add(self.recent)
        self.recent.reset()

    def start_epoch(self) -> None:
        """Move on to the next epoch."""
        self.epoch += 1
        self.position = 0
        self.sums.reset()
        self.epoch_seconds = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain types, except for the metrics."""
        state = {key: value for key, value in vars(self).items() if key not in PER_SHARD}
        return state | {key: dict(vars(value)) for key, value in state.items() if isinstance(value, Best)}

    def shard_states(self) -> list[dict[str, Any]]:
        """Return the state of the metrics for each shard of this rank, as plain types and tensors."""
        metrics: list[tuple[str, Metrics]] = [(key, getattr(self, key)) for key in PER_SHARD]
        shards = range(len(self.sums.shards))
        return [{key: metric.shards[shard].state_dict() for key, metric in metrics} for shard in shards]

    def load_shard_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Load the state of the metrics for each shard of this rank."""
        for key in PER_SHARD:
            metric: Metrics = getattr(self, key)
            for shard, state in zip(metric.shards, states, strict=True):
                shard.load_state_dict(state[key])

    def merge_shard_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Load the metrics of all shards of another world size into the first shard of this rank."""
        for key in PER_SHARD:
            metric: Metrics = getattr(self, key)
            own = metric.shards[0]
            metric.reset()
            for state in states:
                other = ShardMetrics(own.metric_set, own.sums.device, only_sums=True)
                other.load_state_dict(state[key])
                own.add(other)
            if own.others:
                own.earlier = [each for state in states for each in state[key]["others"]]

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the state. A best value is loaded only if the config still monitors the same metric in the same mode."""
        for key, own in vars(self).items():
            if isinstance(own, Best):
                value = state[key]
                if (value["metric"], value["mode"]) == (own.metric, own.mode):
                    own.value, own.epoch, own.step, own.stale = (value[k] for k in ("value", "epoch", "step", "stale"))
            elif key not in PER_SHARD:
                setattr(self, key, state[key])


class Clock:
    """A clock that measures the training time, and the time since the last save."""

    def __init__(self) -> None:
        self._last = self._saved = time.monotonic()

    def update(self, state: TrainState) -> None:
        """Add the time since the last update to the state."""
        now = time.monotonic()
        state.seconds += now - self._last
        state.epoch_seconds += now - self._last
        self._last = now

    def skip(self) -> None:
        """Leave out the time since the last update, in which the run has waited for others."""
        self._last = time.monotonic()

    def elapsed(self, state: TrainState) -> float:
        """Return the training time until now, in seconds."""
        return state.seconds + time.monotonic() - self._last

    def waiting(self, state: TrainState, batches: Iterator[T]) -> Iterator[T]:
        """Yield the batches, and add the time spent waiting for them to the state."""
        begun = time.perf_counter()
        for batch in batches:
            state.data_seconds += time.perf_counter() - begun
            yield batch
            begun = time.perf_counter()

    def saved(self) -> None:
        """Restart the time since the last save."""
        self._saved = time.monotonic()

    def since_save(self) -> float:
        """Return the seconds since the last save."""
        return time.monotonic() - self._saved
