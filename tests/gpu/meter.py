"""Measure a training loop from within: it calls `step` after each step, and ends when that returns true."""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from gpu.isolate import first_line
from gpu.section import Row
from gpu.trace import summarize

WINDOWS = 3
PROFILED = 20  # steps, after the windows, because the profiler slows down a step
BEFORE_PROFILED = 5  # steps with the profiler that are thrown away


@dataclass
class Length:
    """How many steps a measurement has.

    Args:
        warm_up: steps that are not measured.
        window: steps of each of the measured windows.
    """

    warm_up: int
    window: int

    @property
    def measured(self) -> int:
        """Steps until the end of the last window."""
        return self.warm_up + WINDOWS * self.window

    @property
    def steps(self) -> int:
        """All steps of the measurement."""
        return self.measured + BEFORE_PROFILED + PROFILED


class Meter:
    """Measure a training loop: images per second in three windows, then a profile of some steps.

    Args:
        device: cuda or cpu.
        length: number of steps.
        images: images per step.
    """

    def __init__(self, device: str, length: Length, images: float) -> None:
        self.device, self.length, self.images = device, length, images
        self.done, self.memory = 0, 0
        self.waited: Callable[[], float] = lambda: 0.0  # seconds for which the loop has waited for data so far
        self.marks: list[tuple[float, float]] = []
        self.profile: profile | None = None
        self.problem: str | None = None  # why there is no profile

    def step(self) -> bool:
        """Report the end of a step, and return whether it was the last one."""
        self.done += 1
        since = self.done - self.length.warm_up
        if since % self.length.window == 0 and 0 <= since <= WINDOWS * self.length.window:
            self.synchronize()
            self.marks.append((time.perf_counter(), self.waited()))
        if self.length.measured <= self.done <= self.length.steps:
            self.synchronize()  # so that what a step has started is counted there
            try:
                self.advance_profile()
            except Exception as error:  # the speed has been measured, and is worth more
                self.problem, self.profile = first_line(error), None  # not to be used any more
        return self.done >= self.length.steps

    def advance_profile(self) -> None:
        """Start the profiler after the last window, with a record of the memory; later, tell it that a step is done."""
        if self.done > self.length.measured:
            if self.profile is not None:
                self.profile.step()
            return
        activities = [ProfilerActivity.CPU]
        if self.device == "cuda":
            self.memory = torch.cuda.max_memory_allocated()
            activities.append(ProfilerActivity.CUDA)
        plan = schedule(wait=0, warmup=BEFORE_PROFILED, active=PROFILED, repeat=1)
        # With acc_events, torch 2.11 does not warn that there may be several cycles.
        self.profile = profile(activities=activities, schedule=plan, acc_events=True)
        self.profile.start()

    def synchronize(self) -> None:
        """Wait until the GPU has done everything."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def row(self) -> Row:
        """Return the measurements as columns of a table.

        Raises:
            RuntimeError: the loop has ended too early.
        """
        if self.done < self.length.steps:
            raise RuntimeError(f"the loop ended after {self.done} of {self.length.steps} steps")
        begun, ended = self.marks[0], self.marks[-1]
        times = [after[0] - before[0] for before, after in zip(self.marks[:-1], self.marks[1:], strict=True)]
        rates = [self.length.window * self.images / seconds for seconds in times]
        row: Row = {
            "images/s": median(rates),
            "from": min(rates),
            "to": max(rates),
            "µs/step": 1e6 * median(times) / self.length.window,
            "waiting for data": share((ended[1] - begun[1]) / (ended[0] - begun[0])),
        }
        if self.device == "cuda":
            row["peak MiB"] = self.memory / 2**20
            row |= self.profiled(median(times) / self.length.window)
        return row

    def profiled(self, seconds: float) -> Row:
        """Return the launches of a step, and the share of its time, without the profiler, for which the GPU is idle."""
        try:
            if self.problem is not None or self.profile is None:
                raise RuntimeError(self.problem or "there is no profile")
            found = read(self.profile)
        except Exception as error:
            return {"result": f"ok, but for the profile: {first_line(error)}"}
        idle = share(1 - found["busy"] / seconds)
        return {"launches/step": found["launches"], "kernels/step": found["kernels"], "GPU idle": idle}


def read(profiled: profile) -> dict[str, float]:
    """Return what the profiled steps did on the GPU."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiled.export_chrome_trace(str(path))
        return summarize(json.loads(path.read_text())["traceEvents"], PROFILED)


def share(value: float) -> str:
    """Return a share in percent."""
    return f"{100 * max(value, 0.0):.0f}%"
