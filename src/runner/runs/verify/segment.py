"""Which segments of a run can be trained again, and with which config."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.config.parse import parse
from runner.config.schema import Config
from runner.errors import ConfigError
from runner.runs.environment import read_environment
from runner.runs.verify.record import Record, Saved

ELSEWHERE = ("output_dir", "plugins", "name", "dry_run", "sweep")  # where a run is, not what it trains


@dataclass(frozen=True)
class Segment:
    """A part of a run to train again.

    Args:
        start: checkpoint to start from; None: the initial weights.
        end: last step.
        config: config with which the run trained it.
    """

    start: Saved | None
    end: int
    config: Config

    @property
    def first(self) -> int:
        """The step after which it starts."""
        return 0 if self.start is None else self.start.step


def choose(record: Record, steps: int | None, start: Saved | str | None) -> Segment:
    """Return the segment to train again.

    Args:
        record: what the run has recorded.
        steps: maximum number of steps to train; None: no limit.
        start: checkpoint to start from, None for the initial weights, or "any": the one from which most checkpoints,
            and then most steps, can be reached.

    Raises:
        ConfigError: nothing can be trained again.
    """
    if record.last_step == 0:
        raise ConfigError(f"{record.folder}: nothing to verify: no step is recorded yet")
    starts = list(possible_starts(record)) if isinstance(start, str) else [start]
    problems: list[str] = []
    found: list[Segment] = []
    for each in starts:
        try:
            found.append(segment_from(record, each, steps))
        except ConfigError as error:
            problems += error.problems
    if not found:
        raise ConfigError(*problems)
    return max(found, key=lambda each: (count_checkpoints(record, each), each.end - each.first))


def possible_starts(record: Record) -> Iterator[Saved | None]:
    """Yield the states from which training can be repeated: the initial weights, and all but the last checkpoints."""
    yield None
    yield from (kept for kept in record.kept if kept.step < record.last_step)


def count_checkpoints(record: Record, segment: Segment) -> int:
    """Return the number of checkpoints with which a segment can be compared."""
    return sum(segment.first < kept.step <= segment.end for kept in record.kept)


def segment_from(record: Record, start: Saved | None, steps: int | None) -> Segment:
    """Return the longest segment from a state; if `steps` limits it, it ends at a checkpoint if possible.

    Raises:
        ConfigError: the run trained it on several processes, or its config is not known.
    """
    first = 0 if start is None else start.step
    # A run that stopped early or was resumed with other values is only trained up to there.
    ends = [step for step in record.changes if step > first]
    ends += [kept.step for kept in record.kept if kept.step > first and kept.is_end]
    end = min([record.last_step, *ends])
    if steps is not None and end - first > steps:
        within = [kept.step for kept in record.kept if first < kept.step <= first + steps]
        end = max(within, default=first + steps)
    for kept in record.kept if record.config.trainer.shards == 1 else []:
        if len(kept.contents["shards"]) > 1 and first <= kept.step <= end:
            raise ConfigError(
                f"{kept.file}: saved by {len(kept.contents['shards'])} processes, whose bits one process cannot "
                "repeat; only runs with trainer.shards can be verified in one process"
            )
    return Segment(start, end, repeatable(record, config_of(record, start, end)))


def config_of(record: Record, start: Saved | None, end: int) -> Config:
    """Return the config with which a segment was trained.

    Raises:
        ConfigError: the run was resumed with other values, and no checkpoint contains those of this segment.
    """
    first = 0 if start is None else start.step
    for kept in record.kept:
        if first < kept.step <= end:
            return parse(kept.contents["config"])
    if not any(step >= end for step in record.changes):
        return record.config
    if start is not None and first not in record.changes:
        return parse(start.contents["config"])
    raise ConfigError(
        f"steps {first:,} to {end:,}: the run was resumed with other values after step {end:,}, and no checkpoint "
        "contains the values before; choose another start with --from"
    )


def repeatable(record: Record, config: Config) -> Config:
    """Return a config that trains as the run did: on its device and threads, and without limits of time."""
    here = record.config
    paths: dict[str, Any] = {key: here.dataset.values[key] for key in ("root", "path") if key in here.dataset.values}
    checkpoint = config.trainer.checkpoint.model_copy(update={"every_minutes": None})
    untimed = {"max_minutes": None, "profile": False, "checkpoint": checkpoint}
    changes = {key: getattr(here, key) for key in ELSEWHERE}
    changes["dataset"] = config.dataset.model_copy(update=paths)
    changes["trainer"] = config.trainer.model_copy(update=untimed)
    changes["device"] = config.device.model_copy(update=device_of(record.folder, here))
    return config.model_copy(update=changes)


def device_of(folder: Path, config: Config) -> dict[str, Any]:
    """Return the name of the device and the number of threads in environment.json, as far as they are known."""
    text = str(read_environment(folder).get("device", ""))
    threads = re.search(r"\((\d+) threads\)", text)
    name = text.partition(" ")[0]
    found: dict[str, Any] = {"name": name} if re.fullmatch(r"cpu|mps|cuda(:\d+)?", name) else {}
    if threads and config.device.threads is None:
        found["threads"] = int(threads[1])
    return found
