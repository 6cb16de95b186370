"""The pictures of a run, and why it failed, for the comparison page."""

import base64
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runner.runs.found import Run

MOST_BYTES = 4_000_000  # of the pictures that are contained in the page
MOST_RUNS = 12  # whose pictures are contained in the page
LINES = 20  # of a log
LONGEST_END = 8_000  # bytes of a log


class Pictures:
    """The pictures of runs: those of the first runs are contained in the page, the others are linked.

    Args:
        target: file that the page will be written to, from which links start; None: the current folder.
    """

    def __init__(self, target: Path | None) -> None:
        self.start = Path.cwd() if target is None else target.absolute().parent
        self.runs = self.bytes = 0

    def of(self, folder: Path) -> list[dict[str, str]]:
        """Return name and source of each picture of a run."""
        try:
            found = sorted(path for path in (folder / "plots").iterdir() if path.suffix == ".png")
        except OSError:
            return []
        size = sum(path.stat().st_size for path in found)
        contained = self.runs < MOST_RUNS and self.bytes + size <= MOST_BYTES
        if found and contained:
            self.runs, self.bytes = self.runs + 1, self.bytes + size
        return [{"name": path.stem, "source": self._source(path, contained)} for path in found]

    def _source(self, path: Path, contained: bool) -> str:
        if contained:
            return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
        return quote(os.path.relpath(path, self.start))


def failure(run: Run) -> str | None:
    """Return type and message of the error that ended a run, or None."""
    error: dict[str, Any] | None = run.results.get("error")
    return None if error is None else f"{error['type']}: {error['message']}"


def log_end(folder: Path) -> str | None:
    """Return the last lines of run.log, or None if there are none."""
    try:
        with (folder / "run.log").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LONGEST_END))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    return "\n".join(lines[-LINES:]) or None
