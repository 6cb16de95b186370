"""Measurement of a command as a whole process."""

import csv
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PEERS = Path(__file__).parent / "peers"
STARTS = {1: (), 2: (str(PEERS / "two.py"),)}  # what to put in front of a command, by the number of ranks


@dataclass
class Measured:
    """Measurements of one run of a command.

    Args:
        seconds: wall time of the command.
        memory: peak resident memory of its largest process, in MiB.
        first_step: seconds from the start of the command to the end of the first training step.
        per_second: training images (or steps) per second, validation included.
        values: further values that the command reports.
    """

    seconds: float
    memory: float
    first_step: float | None = None
    per_second: float | None = None
    values: dict[str, Any] = field(default_factory=dict)


def measure(folder: Path, *command: str) -> tuple[Measured, float, str]:
    """Run a Python command in a folder and measure it.

    Returns:
        The measurements, the start time in seconds since the epoch, and the output.

    Raises:
        RuntimeError: the command failed.
    """
    with (folder / "output.txt").open("w+") as output:
        wall, begun = time.time(), time.monotonic()
        process = subprocess.Popen([sys.executable, *command], cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        text = (folder / "output.txt").read_text()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}\n{text[-2000:]}")
    return Measured(seconds, usage.ru_maxrss / 1024), wall, text


def script(folder: Path, name: str, *arguments: str, ranks: int = 1) -> Measured:
    """Run a script of peers/ on one or two ranks; it prints its measurements as the last line of its output."""
    measured, wall, text = measure(folder, *STARTS[ranks], str(PEERS / f"{name}.py"), *arguments)
    reported = json.loads(text.strip().rpartition("\n")[2])
    measured.first_step = reported.pop("first_step") - wall
    measured.per_second = reported.pop("per_second")
    measured.values = reported
    return measured


def ours(folder: Path, *arguments: str, ranks: int = 1) -> Measured:
    """Run `python -m runner` on one or two ranks and read its measurements from results.json."""
    before = set(folder.glob("outputs/*/*"))
    measured, wall, _ = measure(folder, *STARTS[ranks], "-m", "runner", *arguments)
    (run,) = set(folder.glob("outputs/*/*")) - before
    if (run / "results.json").exists():
        with (run / "metrics.csv").open() as table:
            epochs = [float(row["seconds"]) for row in csv.DictReader(table)]
        measured.values = json.loads((run / "results.json").read_text()) | {"epoch_seconds": epochs}
        measured.per_second = measured.values["samples_per_second"]
        measured.first_step = first_scalar(run) - wall
    return measured


def first_scalar(run: Path) -> float:
    """Return when the first scalar was logged, in seconds since the epoch: the first step, if trainer.log_every=1."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    (path,) = run.glob("events.*")
    events = EventFileLoader(str(path)).Load()
    return next(
        float(event.wall_time) for event in events for value in event.summary.value if value.tag == "train/loss"
    )
