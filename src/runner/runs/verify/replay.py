"""Train a segment of a run again in memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from runner.errors import Diverged
from runner.machine.distributed import World
from runner.machine.signals import Stop
from runner.runs.verify.comparison import ComparingTracker, Ended
from runner.runs.verify.record import Record
from runner.runs.verify.segment import Segment
from runner.runs.verify.values import Mismatch, ValueDifference
from runner.training.evaluate import validate
from runner.training.loop import end_epoch, train_function
from runner.training.saving.checkpoint import Checkpoints, Snapshot
from runner.training.saving.resume import assemble
from runner.training.saving.saver import Saver
from runner.training.trainer import Trainer


class NoSaver(Saver):
    """Save nothing."""

    def start(self, contents: Mapping[str, Any], best: bool) -> None: ...


@dataclass
class Replay(Trainer):
    """A run that is trained again: it saves nothing, and stops where the run has stopped.

    Args:
        comparison: compares what is trained with the record; it is the tracker, too.
    """

    comparison: Any = None

    @cached_property
    def saver(self) -> Saver:
        return NoSaver(self.checkpoints)

    def goes_on(self) -> bool:
        """Compare the step before with the record, and return whether the segment has another one."""
        self.comparison.compare_step()  # before the next batch is prepared, which may draw random numbers
        return self.state.step < self.comparison.segment.end

    def start_all_reduce(self) -> None:
        """Set what would depend on the clock as it was in the run."""
        super().start_all_reduce()
        step = self.state.step + 1
        self.state.timed_out = any(k.step == step and k.contents["timed_out"] for k in self.comparison.pending)


def replay(record: Record, segment: Segment, check: Callable[[ComparingTracker], None]) -> ComparingTracker:
    """Train a segment again, and compare it with the record.

    Args:
        record: what the run has recorded.
        segment: what to train.
        check: called before the first step.

    Raises:
        Mismatch: the first values that differ.
    """
    saved = None if segment.start is None else as_start(segment.start.contents)
    parts, state = assemble(segment.config, World(), saved)
    comparison = ComparingTracker(record, segment, parts, state)
    check(comparison)
    checkpoints = Checkpoints(record.folder / "checkpoints", 1)  # named in messages; nothing is saved
    trainer = Replay(parts, state, comparison, checkpoints, Stop(), comparison=comparison)
    try:
        fit_segment(trainer)
    except Ended:
        pass
    except Diverged as error:
        if state.step < segment.end:
            raise Mismatch(
                [ValueDifference(state.step + 1, "the replay", "outcome of the step", "finite", str(error))]
            ) from error
    finally:
        trainer.saver.close()
    comparison.finish()
    return comparison


def as_start(saved: Snapshot) -> Snapshot:
    """Return a checkpoint as the resumed run has taken it."""
    start = saved.copy()
    start["timed_out"], start["data"] = False, None  # the data is compared on its own
    return start


def fit_segment(trainer: Replay) -> None:
    """Train to the end of the segment, with what follows its last step.

    Raises:
        Mismatch: something differs.
        Ended: the last checkpoint is reached.
    """
    state, end, train = trainer.state, trainer.comparison.segment.end, train_function(trainer)
    while not (trainer.finished or (state.next == "train" and state.step >= end)):
        if state.next == "train":
            train()
        elif state.next == "validate":
            validate(trainer)
        else:
            end_epoch(trainer)
        trainer.comparison.compare_step()
    if state.step < end:
        raise Mismatch([ValueDifference(state.step, "the replay", "last step", f"{end:,}", f"{state.step:,}")])
