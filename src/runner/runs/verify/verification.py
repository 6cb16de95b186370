"""Train a recorded segment of a run again, and compare it with the record, bit for bit."""

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from runner.config.schema import Config, flatten
from runner.errors import ConfigError, RunnerError
from runner.machine.device import describe, resolve
from runner.machine.environment import describe_environment
from runner.runs.diff import PER_RUN, pairs
from runner.runs.environment import hash_plugins, read_environment
from runner.runs.folder import check_unused
from runner.runs.verify.files import check_data, check_files, check_test
from runner.runs.verify.record import Record, Saved, read_record
from runner.runs.verify.replay import replay
from runner.runs.verify.segment import Segment, choose, device_of, possible_starts, segment_from
from runner.runs.verify.values import Mismatch, ValueDifference
from runner.tracking.results import as_json


@dataclass(frozen=True)
class Report:
    """The outcome of a verification.

    Args:
        first: the step after which training was repeated.
        last: the last step that was repeated.
        steps: the last recorded step.
        scalars: number of scalars that were compared, including the cells of metrics.csv and the metrics of the test.
        checkpoints: checkpoints that were compared.
        differences: what differs at the first place where anything does; empty: all is equal.
        environment: versions, device and so on that differ, then and now; only if something differs.
        changed: the steps after which the run was resumed with other values.
    """

    first: int = 0
    last: int = 0
    steps: int = 0
    scalars: int = 0
    checkpoints: list[str] = field(default_factory=list)
    differences: list[ValueDifference] = field(default_factory=list)
    environment: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    changed: list[int] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


def verify_run(config: Config, folder: Path, steps: int | None, start: str | None) -> Report:
    """Check the files of a run against each other, train a segment of it again, and test its best checkpoint again.

    Nothing is written to the run folder.

    Args:
        config: checked config of the run.
        folder: run folder.
        steps: maximum number of steps to train; None: no limit.
        start: step to start from, or "random"; None: the state from which most checkpoints can be compared.

    Raises:
        ConfigError: the run is active, or the segment cannot be repeated.
    """
    check_unused(folder)
    segment: Segment | None = None
    try:
        record = read_record(folder, config)
        check_files(record)
        segment = select_segment(record, steps, start)
        comparison = replay(record, segment, check_data)
        tested = check_test(comparison)
    except Mismatch as mismatch:
        first, last = (segment.first, segment.end) if segment else (0, 0)
        return Report(first, last, differences=mismatch.differences, environment=environment_changes(folder, config))
    numbers = comparison.numbers + tested
    found = sorted(comparison.checkpoints)
    return Report(segment.first, segment.end, record.last_step, numbers, found, changed=record.changes)


def select_segment(record: Record, steps: int | None, start: str | None) -> Segment:
    """Return the segment that the command line asks for.

    Raises:
        ConfigError: there is no such checkpoint, or the segment cannot be repeated.
    """
    if start is None:
        return choose(record, steps, "any")
    starts: dict[str, Saved | None] = {str(kept.step if kept else 0): kept for kept in possible_starts(record)}
    if start == "random":
        usable = [each for each in starts.values() if is_usable(record, each)]
        return choose(record, steps, random.choice(usable) if usable else "any")
    if start not in starts:
        raise ConfigError(f"--from: found {start}; allowed: {', '.join(starts)} (the steps with a checkpoint), random")
    return choose(record, steps, starts[start])


def is_usable(record: Record, start: Saved | None) -> bool:
    """Return whether training can be repeated from a state."""
    try:
        segment_from(record, start, None)
    except ConfigError:
        return False
    return True


def environment_changes(folder: Path, config: Config) -> dict[str, tuple[Any, Any]]:
    """Return what of environment.json differs now, including the git commit and the uncommitted changes."""
    then = read_environment(folder)
    if not then:
        return {}
    device = config.device.model_copy(update=device_of(folder, config))
    if device.threads is not None:
        torch.set_num_threads(device.threads)
    try:
        described = describe(resolve(device.name))
    except RunnerError:
        described = "not available"
    now = flatten(describe_environment(described) | {"plugins": hash_plugins(config.plugins)})
    ignored = tuple(key for key in PER_RUN if key != "git.")
    return pairs(then, now, ignored)


def as_text(report: Report) -> str:
    """Return the outcome as one line, and what was not trained again as a second one."""
    if not report.is_equal:
        return f"first differs at step {report.differences[0].step:,}: {'; '.join(reasons(report))}\n"
    segment = f"steps {report.first:,} to {report.last:,} trained again"
    lines = [f"equal: {segment}: {report.scalars:,} scalars, {len(report.checkpoints)} checkpoints"]
    left = [(1, report.first), (report.last + 1, report.steps)]
    rest = " and ".join(f"{low:,} to {high:,}" for low, high in left if low <= high)
    hint = "for the whole run: --from 0 --steps all"
    if report.changed:
        changed = " and ".join(f"{step:,}" for step in report.changed)
        hint = f"resumed with other values after step {changed}: use --from STEP"
    if rest:
        lines.append(f"not trained again: steps {rest}; {hint}")
    return "\n".join(lines) + "\n"


def reasons(report: Report) -> list[str]:
    """Return the first difference, the number of the others, and what has changed since the run."""
    first, *others = report.differences
    found = [f"{first} (and {len(others)} more)" if others else str(first)]
    for key, (then, now) in report.environment.items():
        if key == "git.diff":
            found.append("the uncommitted changes differ")
        elif key.startswith("plugins."):
            found.append(f"the code of {key.removeprefix('plugins.')} has changed")
        else:
            found.append(f"{key.rpartition('.')[2]} {then} then, {now} now")
    return found


def render(report: Report, kind: str) -> str:
    """Return the outcome as text or as JSON."""
    return as_json({"equal": report.is_equal, **asdict(report)}) if kind == "json" else as_text(report)
