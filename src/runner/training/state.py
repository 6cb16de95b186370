"""Where a training stands: everything that changes while it runs, beside the weights."""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch

from runner.config.schema import Mode
from runner.machine.distributed import ALONE, World
from runner.training.metrics import Metrics, Task

T = TypeVar("T")
Next = Literal["train", "validate", "end epoch", "stop"]
OWN = ("recent", "window", "sums")  # of a TrainState: what each process of a world has for itself, and adds up


@dataclass
class Best:
    """The best value of a metric so far, and for how many looks it has not been beaten."""

    metric: str
    mode: Mode
    min_delta: float = 0.0
    value: float | None = None
    epoch: int = 0
    step: int = 0
    stale: int = 0

    def look(self, metrics: dict[str, float], epoch: int, step: int) -> bool:
        """Whether the metric is better than ever; a value that is no finite number never is."""
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
    """Where a training stands.

    Args:
        best: of the metric that decides which checkpoint is best.pt.
        early: of the metric that early stopping watches.
        recent: sums since the last look at them; `window` since the last log; `sums` since the epoch's start.
        epoch: epochs completed. step: optimizer updates made. position: updates made in the epoch in hand.
        next: what follows: a step; a validation, which a stop may have cut short; the end of the epoch; or nothing, as
            the run was asked to stop early.
        validated: the step after which `val` was measured.
        val: metrics of the newest validation. train: of the newest epoch.
        seconds: spent in training. epoch_seconds: in the epoch in hand. data_seconds: waiting for batches.
        lr: of the newest step.
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
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    data_seconds: float = 0.0
    lr: float = 0.0

    @classmethod
    def start(cls, task: Task, device: torch.device, best: Best, early: Best, world: World = ALONE) -> "TrainState":
        """The state before the first step."""
        recent, window, sums = (Metrics(task, device, world) for _ in range(3))
        return cls(best, early, recent, window, sums)

    def merge_recent(self) -> None:
        """Add the recent sums to those of the window and of the epoch."""
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
        """As plain types and tensors."""
        state = dict(vars(self))
        state |= {key: dict(vars(value)) for key, value in state.items() if isinstance(value, Best)}
        state |= {key: value.state_dict() for key, value in state.items() if isinstance(value, Metrics)}
        return state

    def reset_sums(self) -> None:
        for key in OWN:
            getattr(self, key).reset()

    def add_sums(self, state: Mapping[str, Any]) -> None:
        """Adds those of another process."""
        for key in OWN:
            own: Metrics = getattr(self, key)
            other = Metrics(own.task, own.sums.device)
            other.load_state_dict(state[key])
            own.add(other)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for key, own in vars(self).items():
            value = state[key]
            if isinstance(own, Metrics):
                own.load_state_dict(value)
            elif isinstance(own, Best):
                # What to watch is the config's to say; what was seen comes from the checkpoint.
                if (value["metric"], value["mode"]) == (own.metric, own.mode):  # else it begins anew
                    own.value, own.epoch, own.step, own.stale = (value[k] for k in ("value", "epoch", "step", "stale"))
            else:
                setattr(self, key, value)


class Clock:
    """Counts the seconds of training into the state, and those since the last save."""

    def __init__(self) -> None:
        self._last = self._saved = time.monotonic()

    def update(self, state: TrainState) -> None:
        now = time.monotonic()
        state.seconds += now - self._last
        state.epoch_seconds += now - self._last
        self._last = now

    def waiting(self, state: TrainState, batches: Iterator[T]) -> Iterator[T]:
        """Hands on the batches, and adds the seconds of waiting for each to the state's."""
        begun = time.perf_counter()
        for batch in batches:
            state.data_seconds += time.perf_counter() - begun
            yield batch
            begun = time.perf_counter()

    def saved(self) -> None:
        self._saved = time.monotonic()

    def since_save(self) -> float:
        return time.monotonic() - self._saved
