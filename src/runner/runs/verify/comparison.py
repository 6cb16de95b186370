"""Compare a run that is trained again with what the run has recorded."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from runner.runs.verify.record import Record, Saved, position_of
from runner.runs.verify.segment import Segment
from runner.runs.verify.values import Mismatch, ValueDifference, compare, compare_checkpoints, raise_if_any
from runner.tracking.metrics_csv import FILE
from runner.tracking.recorded import same
from runner.tracking.tracker import rarely_logged
from runner.training.parts import Parts
from runner.training.saving.snapshot import take
from runner.training.state import TrainState


class Ended(Exception):
    """The last checkpoint of the segment is reached, and equal."""


@dataclass
class ComparingTracker:
    """A tracker that compares everything with the record, and records nothing.

    Args:
        record: what the run has recorded.
        segment: what is trained again.
        parts: parts of the run.
        state: state of the training loop.
        scalars_done: tags by step that were compared.
        rows_done: steps of the rows of metrics.csv that were compared.
        numbers: how many scalars were compared, with the cells of metrics.csv.
        checkpoints: names of the checkpoints that were compared.
    """

    record: Record
    segment: Segment
    parts: Parts
    state: TrainState
    scalars_done: set[tuple[int, str]] = field(default_factory=set)
    rows_done: set[int] = field(default_factory=set)
    numbers: int = 0
    checkpoints: list[str] = field(default_factory=list)

    @cached_property
    def pending(self) -> list[Saved]:
        """The checkpoints that are still to be reached."""
        return [kept for kept in self.record.kept if self.segment.first < kept.step <= self.segment.end]

    def compare_step(self) -> None:
        """Compare the current state with the checkpoints that were saved here.

        Raises:
            Mismatch: it differs.
            Ended: nothing is left to compare.
        """
        here = [kept for kept in self.pending if kept.step == self.state.step]
        found = [kept for kept in here if kept.key == position_of(self.state.state_dict())]
        for kept in found:
            now = take(self.parts, self.state, {})
            raise_if_any(compare_checkpoints(kept.file, kept.contents, now))
            self.pending.remove(kept)
            self.checkpoints += kept.names
        if found and self.state.step == self.segment.end and len(found) == len(here):
            raise Ended

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Compare scalars with those of TensorBoard, which have single precision."""
        if not self.record.scalars:
            return
        recorded, differences = self.record.scalars.get(step, {}), []
        for tag, value in values.items():
            if tag not in recorded:
                if step <= self.record.newest:  # later ones may not have reached the disk
                    differences.append(ValueDifference(step, "TensorBoard", tag, None, single(value)))
                continue
            self.scalars_done.add((step, tag))
            if not same(recorded[tag], single(value)):
                differences += compare(step, "TensorBoard", tag, recorded[tag], single(value))
        self.numbers += len(values)
        raise_if_any(differences)

    def epoch(self, row: Mapping[str, float], state: TrainState) -> None:
        """Compare the end of an epoch with its row of metrics.csv."""
        recorded = next((each for each in self.record.rows if each.get("step") == str(state.step)), None)
        if recorded is not None:
            differences: list[ValueDifference] = []
            keys = (recorded.keys() | row.keys()) - {"seconds"}
            for key in sorted(keys, key=str):  # a line that is too long has the key None
                if recorded.get(key) != str(row.get(key, "")):
                    differences += compare(state.step, FILE, str(key), number(recorded.get(key)), row.get(key))
            raise_if_any(differences)
            self.rows_done.add(state.step)
            self.numbers += len(row) - 1
        elif state.step <= self.record.newest and state.step not in self.record.changes:  # a longer epoch replaced it
            raise Mismatch([ValueDifference(state.step, FILE, f"row of epoch {row['epoch']}", None, "a row")])
        self.scalars(rarely_logged(self.parts, row), state.step)

    def progress(self, step: int) -> None:
        """Compare the state after a step."""
        self.compare_step()

    def saved(self, state: TrainState) -> None: ...
    def positions(self) -> dict[str, int]:
        return {}

    def finish(self) -> None:
        """Check that everything that is recorded was trained again.

        Raises:
            Mismatch: something was not.
        """
        first, last = self.segment.first, self.segment.end
        if self.state.next != "train":
            last -= 1  # the replay ended at a checkpoint within this step, before a validation or the end of an epoch
        left = [
            ValueDifference(kept.step, kept.file, "the state at which it was saved", position_of(kept.contents))
            for kept in self.pending
        ]
        left += [
            ValueDifference(step, "TensorBoard", tag, value)
            for step, values in self.record.scalars.items()
            for tag, value in values.items()
            if first < step <= last and not tag.startswith("test/") and (step, tag) not in self.scalars_done
        ]
        left += [
            ValueDifference(step, FILE, f"row of epoch {row.get('epoch')}", "a row")
            for row in self.record.rows
            if first < (step := int(row["step"])) <= last and step not in self.rows_done
        ]
        raise_if_any(sorted(left, key=lambda each: each.step))


def single(value: float) -> float:
    """Return a value as TensorBoard stores it, in single precision."""
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:  # as protobuf does
        return float("inf") if value > 0 else float("-inf")


def number(text: str | None) -> float | str | None:
    """Return the text of a cell as a number if it is one."""
    try:
        return float(text or "")
    except (TypeError, ValueError):  # TypeError: a list, of a line that is too long
        return text
