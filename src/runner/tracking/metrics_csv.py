"""metrics.csv: one row per epoch, with training and validation metrics, learning rate and seconds."""

import csv
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

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
            with self.path.open("a", newline="") as file:
                writer = csv.DictWriter(file, self.columns)
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
        with (folder / FILE).open(newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error):
        return []


def read_curves(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Return points (epoch, value) for each metric, up to the first cell that cannot be read.

    Empty and non-finite cells are left out.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    try:
        for row in read_rows(folder):
            for name, text in row.items():
                if name.startswith(("train/", "val/")) and text and math.isfinite(float(text)):
                    found.setdefault(name, []).append((float(row["epoch"]), float(text)))
    except (ValueError, KeyError, TypeError, AttributeError):  # cells that are not numbers, or rows of another length
        pass
    return found
