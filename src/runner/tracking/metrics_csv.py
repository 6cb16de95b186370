"""metrics.csv: one row per epoch, with training and validation metrics, learning rate and seconds."""

import csv
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from runner.machine.files import write_atomically

FILE = "metrics.csv"
log = logging.getLogger("runner")


class MetricsCsv:
    """Append rows to metrics.csv. Numbers are written in full, so that reading them gives the same bits.

    After a resume, the first row replaces any rows of its own epoch and of later epochs. If the file cannot be written,
    warn once; rows that cannot be written are dropped.

    Args:
        folder: run folder.
        columns: names of the columns.
    """

    def __init__(self, folder: Path, columns: Sequence[str]) -> None:
        self.path, self.columns = folder / FILE, columns
        self._works, self._resumes = True, self.path.exists()

    def write(self, row: Mapping[str, float]) -> None:
        """Append the row of an epoch; missing columns are left empty."""
        try:
            if self._resumes:
                self._drop_from(row["epoch"])
                self._resumes = False
            with self.path.open("a", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, self.columns, extrasaction="ignore")
                if file.tell() == 0:
                    writer.writeheader()
                writer.writerow(row)
        except (OSError, ValueError) as error:  # ValueError: the file is not in our format
            if self._works:
                log.warning("%s: cannot be written: %s; training continues", self.path, error)
            self._works = False

    def _drop_from(self, epoch: float) -> None:
        """Remove the rows of an epoch and of later epochs, and an incomplete last row."""
        head, *rows = self.path.read_bytes().splitlines(keepends=True) or [b""]
        kept = [row for row in rows if row.endswith(b"\n") and int(row.split(b",")[0]) < epoch]
        if len(kept) < len(rows):
            write_atomically(self.path, b"".join([head, *kept]))


def read_rows(folder: Path) -> list[dict[str, str]]:
    """Return the rows of a run folder's metrics.csv as text, or [] if the file cannot be read."""
    try:
        with (folder / FILE).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error):
        return []


def number(text: Any) -> float | None:
    """Return a cell of `read_rows` as a number; None if it is empty, damaged or not finite."""
    try:
        value = float(text)
    except (TypeError, ValueError):  # TypeError: the row is too short, or too long
        return None
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class Curves:
    """The curves of a run.

    Args:
        axes: epoch, step and seconds since the start of each row; empty where the file does not have them.
        metrics: values of each training and validation metric in these rows; None for empty and non-finite cells.
    """

    axes: dict[str, list[float]]
    metrics: dict[str, list[float | None]]


def read_curves(folder: Path) -> Curves:
    """Return the curves in a run folder's metrics.csv, up to the first row that cannot be read."""
    axes: dict[str, list[float]] = {name: [] for name in ("epoch", "step", "seconds")}
    metrics: dict[str, list[float | None]] = {}
    try:
        with (folder / FILE).open(newline="", encoding="utf-8") as file:
            head, *rows = csv.reader(file)
    except (OSError, ValueError, csv.Error):
        return Curves(axes, metrics)
    places = {name: place for place, name in enumerate(head)}
    metrics = {name: [] for name in head if name.startswith(("train/", "val/"))}
    if "epoch" not in places:
        return Curves(axes, {})
    for row in rows:
        try:
            values = {name: _finite(row[place]) for name, place in places.items()}
        except (ValueError, IndexError):
            break
        for name in axes.keys() & places.keys():
            axes[name].append(values[name] or 0.0)
        for name, found in metrics.items():
            found.append(values[name])
    axes["seconds"] = list(accumulate(axes["seconds"]))
    return Curves(axes, {name: values for name, values in metrics.items() if set(values) - {None}})


def _finite(text: str) -> float | None:
    """Return the number in a cell, or None if it is empty, infinite or NaN."""
    value = float(text) if text else math.nan
    return value if math.isfinite(value) else None
