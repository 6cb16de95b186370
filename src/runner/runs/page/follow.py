"""Rewrite the comparison page until all runs have ended."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from runner.runs.found import Run

PAUSE = 2.0  # seconds between two looks at the files
QUIET = 10.0  # seconds without a running run or a change after which all have ended; jobs of a sweep follow each other
RELOAD = 5.0  # seconds after which the page reloads itself

State = dict[Path, int]


def follow(find: Callable[[], list[Run]], write: Callable[[list[Run], bool], None]) -> None:
    """Write the page at once and after every change, until all runs have ended or Ctrl-C is pressed.

    Args:
        find: returns the runs.
        write: writes the page of the runs; the second argument is whether it will be written again.
    """
    runs, seen, changed = find(), None, time.monotonic()
    try:
        while any(run.status == "running" for run in runs) or time.monotonic() - changed < QUIET:
            now = state_of(runs)
            if now != seen:
                write(runs, True)
                seen, changed = now, time.monotonic()
            time.sleep(PAUSE)
            runs = find()
    except KeyboardInterrupt:
        pass
    write(runs, False)  # this page no longer reloads itself


def state_of(runs: Iterable[Run]) -> State:
    """Return the times of the last change of the files that the page shows."""
    found: State = {}
    for run in runs:
        for name in ("results.json", "metrics.csv"):
            try:
                found[run.folder / name] = (run.folder / name).stat().st_mtime_ns
            except OSError:
                found[run.folder / name] = 0
    return found
