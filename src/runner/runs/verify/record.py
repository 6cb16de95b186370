"""What a run has recorded."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.config.schema import Config
from runner.errors import CheckpointError
from runner.runs.verify.values import Mismatch, ValueDifference
from runner.tracking.metrics_csv import read_rows
from runner.tracking.recorded import Scalars, event_files, read_scalars
from runner.tracking.results import read_results
from runner.training.saving.checkpoint import Snapshot, load_checkpoint

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Saved:
    """A checkpoint of a run.

    Args:
        names: names of all files that hold it.
        contents: its contents, with `next` reset to "train" if ASHA had a decision pending or stopped the run.
        is_end: whether the run ended here, because ASHA stopped it or `trainer.max_minutes` was reached.
    """

    names: list[str]
    contents: Snapshot
    is_end: bool

    @property
    def step(self) -> int:
        """Step after which it was saved."""
        return self.contents["step"]

    @property
    def file(self) -> str:
        """Names of its files, for messages."""
        return ", ".join(self.names)

    @property
    def key(self) -> Key:
        """The position in the training loop at which it was saved."""
        return position_of(self.contents)


def position_of(state: Mapping[str, Any]) -> Key:
    """Return the position in the training loop of a state: a step may be saved before and after its validation."""
    return tuple(state[key] for key in ("step", "epoch", "position", "next", "validated"))


@dataclass(frozen=True)
class Record:
    """What a run has recorded.

    Args:
        folder: run folder.
        config: config of the run.
        results: contents of results.json.
        kept: checkpoints, the earliest first.
        rows: rows of metrics.csv.
        scalars: scalars of TensorBoard; empty without event files.
    """

    folder: Path
    config: Config
    results: Mapping[str, Any]
    kept: list[Saved]
    rows: list[dict[str, str]]
    scalars: Scalars

    @property
    def changes(self) -> list[int]:
        """The steps after which the run was resumed with other values."""
        return list(self.results.get("changed", []))

    @property
    def newest(self) -> int:
        """The step of the newest checkpoint; until there, all scalars are on the disk."""
        return self.kept[-1].step if self.kept else 0

    @property
    def last_step(self) -> int:
        """The last step of which anything is recorded."""
        steps = [step for step, values in self.scalars.items() if any(not tag.startswith("test/") for tag in values)]
        rows = [int(row["step"]) for row in self.rows if (row.get("step") or "").isdigit()]
        return max([self.newest, *steps, *rows])


def read_record(folder: Path, config: Config) -> Record:
    """Read what a run has recorded.

    Raises:
        Mismatch: a checkpoint is damaged.
    """
    scalars = read_scalars(folder) if event_files(folder) else {}
    return Record(folder, config, read_results(folder), read_checkpoints(folder), read_rows(folder), scalars)


def read_checkpoints(folder: Path) -> list[Saved]:
    """Return the checkpoints of a run, the earliest first; hard links to the same file are one.

    Raises:
        Mismatch: a checkpoint is damaged.
    """
    found: dict[tuple[int, int], Saved] = {}
    for path in sorted((folder / "checkpoints").glob("*.pt")):
        inode = (path.stat().st_dev, path.stat().st_ino)
        if inode in found:
            found[inode].names.append(path.name)
            continue
        try:
            contents = load_checkpoint(path)
        except CheckpointError as error:
            raise Mismatch([ValueDifference(0, path.name, str(error))]) from error
        is_end = contents["next"] == "stop" or contents["timed_out"]
        if contents["next"] in ("decide", "stop"):
            contents["next"] = "train"
        found[inode] = Saved([path.name], contents, is_end)
    return sorted(
        found.values(), key=lambda kept: (kept.step, kept.contents["epoch"], kept.contents["next"] == "train")
    )
