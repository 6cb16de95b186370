"""Runs a command and measures it as a whole process."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PEERS = Path(__file__).parent / "peers"


@dataclass
class Measured:
    """One run of a command.

    Args:
        seconds: from prompt to prompt.
        memory: MiB at most, of the largest of its processes.
        first_step: seconds from the prompt until the first step was made.
        per_second: images, or steps, trained a second, with validation.
        values: what else it said of itself.
    """

    seconds: float
    memory: float
    first_step: float | None = None
    per_second: float | None = None
    values: dict[str, Any] = field(default_factory=dict)


def measure(folder: Path, *command: str) -> tuple[Measured, float, str]:
    """Runs a command in a folder; returns also when it was started, and what it printed.

    Raises:
        RuntimeError: it failed.
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


def script(folder: Path, name: str, *arguments: str) -> Measured:
    """Runs one of the scripts in peers/; its last line of output says what it measured."""
    measured, wall, text = measure(folder, str(PEERS / f"{name}.py"), *arguments)
    told = json.loads(text.strip().rpartition("\n")[2])
    measured.first_step = told.pop("first_step") - wall
    measured.per_second = told.pop("per_second")
    measured.values = told
    return measured


def ours(folder: Path, *arguments: str) -> Measured:
    """Runs `python -m runner`; results.json says what it measured."""
    before = set(folder.glob("outputs/*/*"))
    measured, wall, _ = measure(folder, "-m", "runner", *arguments)
    (run,) = set(folder.glob("outputs/*/*")) - before
    if (run / "results.json").exists():
        measured.values = json.loads((run / "results.json").read_text())
        measured.per_second = measured.values["samples_per_second"]
        measured.first_step = first_scalar(run) - wall
    return measured


def first_scalar(run: Path) -> float:
    """When the first scalar was logged, in seconds since the epoch; with trainer.log_every=1 that is the first step."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    (path,) = (run / "tensorboard").glob("events.*")
    events = EventFileLoader(str(path)).Load()
    return next(
        float(event.wall_time) for event in events for value in event.summary.value if value.tag == "train/loss"
    )
