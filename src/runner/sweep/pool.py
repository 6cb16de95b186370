"""Run several jobs at a time, and record how each ended. A job that dies does not affect the others."""

import math
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from typing import Any

from runner.errors import ConfigError
from runner.machine.signals import Stop
from runner.runs.folder import fill_run_folder, locked
from runner.sweep import server
from runner.sweep.jobs import Job, Sweep
from runner.sweep.machine import Machine
from runner.sweep.screen import Screen
from runner.tracking.results import DONE, ENDED, Results, read_results, status_of

TICK = 0.25  # seconds between checks of timeouts and signals
GRACE = 5.0  # seconds for a job to save after its timeout
PATIENCE = 60.0  # seconds for jobs to save after a signal


def is_alive(pid: int) -> bool:
    """Return whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for_end(pid: int) -> None:
    """Wait until a killed process has ended, which frees its folder; a few seconds at most."""
    end = time.monotonic() + GRACE
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.01)


@dataclass
class Running:
    """A running job.

    Args:
        job: the job.
        process: its process.
        slot: the place that it occupies.
        before: the contents of results.json when the process was started.
        started: when the process was started.
        asked: when it was asked to stop because of sweep.timeout; None if it has not been.
    """

    job: Job
    process: ForkServerProcess
    slot: int
    before: dict[str, Any]
    started: float = field(default_factory=time.monotonic)
    asked: float | None = None


class Pool:
    """Run jobs of a sweep, each in a process of its own.

    Args:
        sweep: the sweep.
        machine: places for jobs that run at the same time, and GPUs to assign in turn. If it lists no GPUs, each job
            sees all of them.
        stop: received signals: after the first one the jobs save and stop, after the second one they are killed.
        screen: reports each event.
        save: updates the table; called after jobs have ended, except after the last ones.
    """

    def __init__(self, sweep: Sweep, machine: Machine, stop: Stop, screen: Screen, save: Callable[[], None]) -> None:
        self.sweep, self.gpus, self.stop, self.screen, self.save = sweep, machine.gpus, stop, screen, save
        self.free = list(range(machine.places))
        self.running: list[Running] = []
        self.tries: dict[str, int] = {}
        self.unsaved = False  # whether a job has ended since the table was saved
        self.ending = False  # whether the running jobs have been asked to stop; no more jobs start then
        self.asked = math.inf  # when they were asked

    def run(self, jobs: Sequence[Job]) -> None:
        """Run jobs until all have ended, or a signal or sweep.on_error ends the sweep."""
        waiting = deque(jobs)
        try:
            while self.running or (waiting and not self.ending):
                while waiting and self.free and not self.ending:
                    self.start(waiting.popleft())
                if self.unsaved:  # after starting the next jobs, because saving takes a while
                    self.unsaved = False
                    self.save()
                wait([each.process.sentinel for each in self.running], timeout=TICK)
                for each in [each for each in self.running if not each.process.is_alive()]:
                    if self.settle(each):
                        waiting.appendleft(each.job)
                self.enforce_timeout()
                self.handle_signals()
                self.screen.refresh()
        finally:
            for each in self.running:
                self.kill(each)

    def start(self, job: Job) -> None:
        """Start a job in a free place."""
        slot, settings = self.free.pop(0), self.sweep.settings
        gpu = self.gpus[slot % len(self.gpus)] if self.gpus and job.config.device.name in ("auto", "cuda") else None
        self.tries[job.folder] = self.tries.get(job.folder, 0) + 1
        try:
            folder = fill_run_folder(self.sweep.path(job))
            before = read_results(folder)
            process = server.start_job(job.config, folder, job.overrides, job.swept, gpu)
        except OSError as error:
            self.free.append(slot)
            self.screen.refused(job, f"it cannot be started: {error}")
            return
        self.running.append(Running(job, process, slot, before))
        self.screen.started(job, again=self.tries[job.folder] - 1, of=settings.retries)

    def settle(self, each: Running) -> bool:
        """Record how a job ended; return whether to run it again."""
        code, pid = each.process.exitcode, each.process.pid
        if pid is not None and is_alive(pid):  # the server has died, but the job has not
            self.kill(each)
            wait_for_end(pid)
        each.process.close()
        self.running.remove(each)
        self.free.append(each.slot)
        settings, folder = self.sweep.settings, self.sweep.path(each.job)
        status, untouched = status_of(folder), read_results(folder) == each.before
        if each.asked is not None and status not in ENDED:
            self.record(each, "Timeout", f"sweep.timeout: did not finish within {settings.timeout:g} seconds")
        elif status not in (*ENDED, "interrupted") or (untouched and not self.ending):
            if self.ending:
                self.record(each, None, "stopped before it could save")
            else:
                kind = "Killed" if code in (-signal.SIGKILL, server.LOST) else "Died"
                self.record(each, kind, f"{server.describe_exit(code)}; see run.log")
        if untouched and read_results(folder) == each.before and not self.ending:
            self.screen.refused(each.job, "its folder is in use by another process, or cannot be written")
        else:
            self.screen.ended(each.job)
        self.unsaved = True
        status = status_of(folder)
        again = status == "failed" and self.tries[each.job.folder] <= settings.retries and not self.ending
        if status not in DONE and not again and settings.on_error == "stop" and not self.ending:
            self.end()
        return again

    def record(self, each: Running, kind: str | None, message: str) -> None:
        """Record how a job ended in its results.json and run.log, because the job itself could not.

        Args:
            each: the job.
            kind: the type of the error; None if the job was stopped.
            message: the error message.
        """
        job, folder = each.job, self.sweep.path(each.job)
        with suppress(OSError, ConfigError), locked(folder):  # another process that holds the lock writes these files
            results = Results.open(folder, job.config.name, job.config.seed, job.overrides)
            results.spent = each.before.get("seconds", {}).get("total", 0.0) + time.monotonic() - each.started
            error = None if kind is None else {"type": kind, "message": message}
            results.end("interrupted" if kind is None else "failed", error=error)
            with (folder / "run.log").open("a") as file:
                file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} ERROR {message}\n")

    def enforce_timeout(self) -> None:
        """Ask jobs that exceed sweep.timeout to save and stop; kill those that do not."""
        limit = self.sweep.settings.timeout
        for each in self.running:
            if limit is None:
                return
            if each.asked is None and time.monotonic() - each.started > limit:
                each.asked = time.monotonic()
                self.signal(each, signal.SIGTERM)
            elif each.asked is not None and time.monotonic() - each.asked > GRACE:
                self.kill(each)

    def handle_signals(self) -> None:
        """End the sweep after a signal; kill the jobs after a second one, or a minute later."""
        if self.stop.times > 0 and not self.ending:
            self.end()
        if self.stop.times > 1 or time.monotonic() - self.asked > PATIENCE:
            for each in self.running:
                self.kill(each)

    def end(self) -> None:
        """Start no more jobs, and ask the running ones to save and stop."""
        self.ending, self.asked = True, time.monotonic()
        self.screen.ending([each.job for each in self.running])
        for each in self.running:
            self.signal(each, signal.SIGINT)

    def kill(self, each: Running) -> None:
        """Kill a job with all its processes."""
        if each.process.pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(each.process.pid, signal.SIGKILL)
        self.signal(each, signal.SIGKILL)

    def signal(self, each: Running, number: signal.Signals) -> None:
        """Send a signal to the process of a job."""
        if each.process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(each.process.pid, number)
