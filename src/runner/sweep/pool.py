"""So many jobs at a time: starts them, watches them, tells how each ended. A job's death is its own."""

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
from runner.sweep.screen import Screen
from runner.tracking.results import DONE, ENDED, Results, read_results, status_of

TICK = 0.25  # seconds between looks at the clock
GRACE = 5.0  # seconds that a job may take to save when its time is up
PATIENCE = 60.0  # and when the sweep is asked to stop


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for_the_end_of(pid: int) -> None:
    """For as long as a kill may take; then its folder is free."""
    end = time.monotonic() + GRACE
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.01)


@dataclass
class Running:
    """A job's process.

    Args:
        slot: which of the places it takes.
        before: what results.json said when its process was started.
        asked: when it was asked to stop, because its time was up.
    """

    job: Job
    process: ForkServerProcess
    slot: int
    before: dict[str, Any]
    started: float = field(default_factory=time.monotonic)
    asked: float | None = None


class Pool:
    """Runs jobs of a sweep.

    Args:
        places: how many run at once.
        gpus: one for each place, in turn; none leaves all GPUs to all.
        stop: set by a signal: the jobs are asked to save and stop; by a second one, they are killed.
        screen: told of everything that happens.
        save: writes the table; called when jobs have ended and the next ones run; at last it is the caller's to call.
    """

    def __init__(
        self,
        sweep: Sweep,
        places: int,
        gpus: Sequence[str],
        stop: Stop,
        screen: Screen,
        save: Callable[[], None],
    ) -> None:
        self.sweep, self.gpus, self.stop, self.screen, self.save = sweep, gpus, stop, screen, save
        self.free = list(range(places))
        self.running: list[Running] = []
        self.tries: dict[str, int] = {}
        self.news = False  # a job has ended that the table does not show yet
        self.ending = False  # no more are started, and those that run were asked to stop
        self.asked = math.inf  # when they were

    def run(self, jobs: Sequence[Job]) -> None:
        """Runs them all, as far as they come, unless a signal or `sweep.on_error` ends it."""
        waiting = deque(jobs)
        try:
            while self.running or (waiting and not self.ending):
                while waiting and self.free and not self.ending:
                    self.start(waiting.popleft())
                if self.news:  # told when the next jobs run already: to write the table takes a while
                    self.news = False
                    self.save()
                wait([each.process.sentinel for each in self.running], timeout=TICK)
                for each in [each for each in self.running if not each.process.is_alive()]:
                    if self.settle(each):
                        waiting.appendleft(each.job)
                self.look_at_the_clock()
                self.heed_signals()
                self.screen.refresh()
        finally:
            for each in self.running:
                self.kill(each)

    def start(self, job: Job) -> None:
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
        """Notes how a job ended; returns whether it is to be tried again."""
        code, pid = each.process.exitcode, each.process.pid
        if pid is not None and is_alive(pid):  # the server has died, and cannot tell of its children
            self.kill(each)
            wait_for_the_end_of(pid)
        each.process.close()
        self.running.remove(each)
        self.free.append(each.slot)
        settings, folder = self.sweep.settings, self.sweep.path(each.job)
        status, untouched = status_of(folder), read_results(folder) == each.before
        if each.asked is not None and status not in ENDED:
            self.note(each, "Timeout", f"sweep.timeout: not done after {settings.timeout:g} seconds")
        elif status not in (*ENDED, "interrupted") or (untouched and not self.ending):
            if self.ending:
                self.note(each, None, "stopped before it could save")
            else:
                kind = "Killed" if code in (-signal.SIGKILL, server.LOST) else "Died"
                self.note(each, kind, f"{server.describe_exit(code)}; see run.log")
        if untouched and read_results(folder) == each.before and not self.ending:
            self.screen.refused(each.job, "another process works in its folder, or it cannot be written")
        else:
            self.screen.ended(each.job)
        self.news = True
        status = status_of(folder)
        again = status == "failed" and self.tries[each.job.folder] <= settings.retries and not self.ending
        if status not in DONE and not again and settings.on_error == "stop" and not self.ending:
            self.end()
        return again

    def note(self, each: Running, kind: str | None, message: str) -> None:
        """Writes what a job could not say itself into its results.json and run.log; `kind` of an error, if it was."""
        job, folder = each.job, self.sweep.path(each.job)
        with suppress(OSError, ConfigError), locked(folder):  # another live run in the folder tells its own story
            results = Results.open(folder, job.config.name, job.config.seed, job.overrides)
            results.spent = each.before.get("seconds", {}).get("total", 0.0) + time.monotonic() - each.started
            error = None if kind is None else {"type": kind, "message": message}
            results.end("interrupted" if kind is None else "failed", error=error)
            with (folder / "run.log").open("a") as file:
                file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} ERROR {message}\n")

    def look_at_the_clock(self) -> None:
        """Asks jobs whose time is up to save and stop; kills those that do not."""
        limit = self.sweep.settings.timeout
        for each in self.running:
            if limit is None:
                return
            if each.asked is None and time.monotonic() - each.started > limit:
                each.asked = time.monotonic()
                self.signal(each, signal.SIGTERM)
            elif each.asked is not None and time.monotonic() - each.asked > GRACE:
                self.kill(each)

    def heed_signals(self) -> None:
        if self.stop.times > 0 and not self.ending:
            self.end()
        if self.stop.times > 1 or time.monotonic() - self.asked > PATIENCE:
            for each in self.running:
                self.kill(each)

    def end(self) -> None:
        """Starts no more jobs, and asks those that run to save and stop."""
        self.ending, self.asked = True, time.monotonic()
        self.screen.ending([each.job for each in self.running])
        for each in self.running:
            self.signal(each, signal.SIGINT)

    def kill(self, each: Running) -> None:
        """Kills a job with all that it started."""
        if each.process.pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(each.process.pid, signal.SIGKILL)
        self.signal(each, signal.SIGKILL)

    def signal(self, each: Running, number: signal.Signals) -> None:
        if each.process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(each.process.pid, number)
