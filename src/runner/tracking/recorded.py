"""Find the event files of a run, and read its recorded scalars."""

import math
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from runner.tracking.metrics_csv import read_rows

Scalars = dict[int, dict[str, float]]  # values by step and tag
EARLIER = "tensorboard"  # the folder in a run folder where earlier versions kept the event files


def event_files(folder: Path) -> list[Path]:
    """Return the event files of a run folder, also of a run of an earlier version."""
    return sorted([*folder.glob("events.out.tfevents.*"), *folder.glob(f"{EARLIER}/events.out.tfevents.*")])


def events_folder(folder: Path) -> Path:
    """Return where to write the next event file of a run.

    It is the run folder itself, so that TensorBoard lists the run by the name of its folder. A run of an earlier
    version continues beside its other event files: moving them could be cut short, and then TensorBoard would list
    two runs.
    """
    return folder / EARLIER if any(folder.glob(f"{EARLIER}/events.out.tfevents.*")) else folder


def read_scalars(folder: Path) -> Scalars:
    """Return the scalars of a run: those of TensorBoard, or without them those of metrics.csv.

    Args:
        folder: run folder.
    """
    found: Scalars = {}
    for step, tag, value in _of_events(folder) if event_files(folder) else _of_csv(folder):
        found.setdefault(step, {})[tag] = value
    return dict(sorted(found.items()))


def _of_events(folder: Path) -> Iterator[tuple[int, str, float]]:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util.tensor_util import make_ndarray

    for path in event_files(folder):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    yield event.step, value.tag, make_ndarray(value.tensor).item()


def _of_csv(folder: Path) -> Iterator[tuple[int, str, float]]:
    for row in read_rows(folder):
        for tag, text in row.items():
            if tag not in ("epoch", "step", "seconds") and text:
                with suppress(KeyError, TypeError, ValueError):  # the file is damaged
                    yield int(row["step"]), tag, float(text)


def same(left: float, right: float) -> bool:
    """Return whether two values are equal bit for bit, or both NaN."""
    return struct.pack("d", left) == struct.pack("d", right) or (math.isnan(left) and math.isnan(right))
