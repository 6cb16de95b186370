"""Run several jobs at a time, and record how each ended. A job that dies does not affect the others."""

import math
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from multiprocessing.connection import wait
from typing import Any

from runner.errors import ConfigError
from runner.machine.signals import Stop
from runner.runs.folder import fill_run_folder, locked
from runner.sweep.execution import server
from runner.sweep.execution.machine import Machine
from runner.sweep.execution.processes import GRACE, Ranks
from runner.sweep.halving import Roster
from runner.sweep.jobs import Job, Sweep
from runner.sweep.report.screen import Screen
from runner.tracking.results import DONE, ENDED, Results, read_results, status_of

TICK = 0.25  # seconds between checks of timeouts and signals
PATIENCE = 60.0  # seconds for jobs to save after a signal
SHARE = 0.1  # largest share of the time to spend on the table, which takes half a second for 1,000 jobs


@dataclass
class RunningJob:
    """A running job.

    Args:
        job: the job.
        ranks: its processes.
        slot: the slot that it occupies.
        before: the contents of results.json when the process was started.
        started: when the process was started.
        asked: when it was asked to stop because of sweep.timeout; None if it has not been.
    """

    job: Job
    ranks: Ranks
    slot: int
    before: dict[str, Any]
    started: float = field(default_factory=time.monotonic)
    asked: float | None = None


class Pool:
    """Run jobs of a sweep, each in processes of its own.

    Args:
        sweep: the sweep.
        machine: slots for jobs that run at the same time, the number of processes of each, and GPUs to assign in turn.
            If it lists no GPUs, each job sees all of them.
        stop: received signals: after the first one the jobs save and stop, after the second one they are killed.
        screen: reports each event.
        save: updates the table; called after jobs have ended, except after the last ones.
    """

    def __init__(self, sweep: Sweep, machine: Machine, stop: Stop, screen: Screen, save: Callable[[], None]) -> None:
        self.sweep, self.machine, self.stop, self.screen, self.save = sweep, machine, stop, screen, save
        self.free = list(range(machine.slots))
        self.running: list[RunningJob] = []
        self.tries: dict[str, int] = {}
        self.unsaved = False  # whether a job has ended since the table was saved
        self.next_save = 0.0  # when the table may be saved again
        self.ending = False  # whether the running jobs have been asked to stop; no more jobs start then
        self.asked = math.inf  # when they were asked
        self.roster: Roster | None = None  # lists for the jobs which of them have not ended; None: they do not wait

    def run(self, jobs: Sequence[Job]) -> None:
        """Run jobs until all have ended, or a signal or sweep.on_error ends the sweep."""
        waiting = deque(jobs)
        try:
            while self.running or (waiting and not self.ending):
                if self.roster is not None:
                    self.roster.update([*waiting, *(each.job for each in self.running)])
                while waiting and self.free and not self.ending:
                    self.start(waiting.popleft())
                self.update_table()  # after starting the next jobs, because it takes a while
                wait([each.ranks.sentinel for each in self.running], timeout=TICK)
                for each in [each for each in self.running if not each.ranks.is_alive()]:
                    if self.settle(each):
                        waiting.appendleft(each.job)
                for each in [each for each in self.running if each.ranks.is_stuck()]:
                    each.ranks.kill()
                self.enforce_timeout()
                self.handle_signals()
                self.screen.refresh()
        finally:
            for each in self.running:
                each.ranks.end()
            if self.roster is not None:
                self.roster.delete()

    def update_table(self) -> None:
        """Update the table if a job has ended, in at most about `SHARE` of the time."""
        began = time.monotonic()
        if self.unsaved and began >= self.next_save:
            self.unsaved = False
            self.save()
            self.next_save = began + (time.monotonic() - began) / SHARE

    def start(self, job: Job) -> None:
        """Start a job in a free slot."""
        slot, settings = self.free.pop(0), self.sweep.settings
        gpus = self.machine.visible(slot) if job.config.device.name in ("auto", "cuda") else None
        environment = {**self.machine.environment, **({"CUDA_VISIBLE_DEVICES": gpus} if gpus else {})}
        self.tries[job.folder] = self.tries.get(job.folder, 0) + 1
        try:
            folder = fill_run_folder(self.sweep.path(job))
            before = read_results(folder)
            start = partial(server.start_job, job.config, folder, job.overrides, job.swept)
            ranks = Ranks(start, self.machine.processes, environment)
        except OSError as error:
            self.free.append(slot)
            self.screen.refused(job, f"it cannot be started: {error}")
            self.end_after_error()
            return
        self.running.append(RunningJob(job, ranks, slot, before))
        self.screen.started(job, again=self.tries[job.folder] - 1, of=settings.retries)

    def settle(self, each: RunningJob) -> bool:
        """Record how a job ended; return whether to run it again."""
        rank, code = each.ranks.blame()
        each.ranks.end()
        self.running.remove(each)
        self.free.append(each.slot)
        if missing := self.missing_end(each, rank, code):
            self.record(each, *missing)
        if self.is_untouched(each) and not self.ending:  # not even by `record`
            self.screen.refused(each.job, "its folder is in use by another process, or cannot be written")
        else:
            self.screen.ended(each.job)
        self.unsaved = True
        settings, status = self.sweep.settings, status_of(self.sweep.path(each.job))
        again = status == "failed" and self.tries[each.job.folder] <= settings.retries and not self.ending
        if status not in DONE and not again:
            self.end_after_error()
        return again

    def is_untouched(self, each: RunningJob) -> bool:
        """Return whether results.json is as it was when the job was started."""
        return read_results(self.sweep.path(each.job)) == each.before

    def missing_end(self, each: RunningJob, rank: int, code: int | None) -> tuple[str | None, str] | None:
        """Return the type of the error and the message to record for a job; None if the job has recorded its end.

        Args:
            each: the job.
            rank: rank that ended it.
            code: exit code of this rank.
        """
        status = status_of(self.sweep.path(each.job))
        if each.asked is not None and status not in ENDED:
            return "Timeout", f"sweep.timeout: did not finish within {self.sweep.settings.timeout:g} seconds"
        if self.ending:
            return None if status in (*ENDED, "interrupted") else (None, "stopped before it could save")
        if status not in (*ENDED, "interrupted") or self.is_untouched(each):
            return describe_death(rank, code)
        if status == "failed" and rank > 0 and code is not None and code < 0:
            return describe_death(rank, code)  # rank 0 does not know why it cannot communicate
        return None

    def record(self, each: RunningJob, kind: str | None, message: str) -> None:
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
            with (folder / "run.log").open("a", encoding="utf-8") as file:
                file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} ERROR {message}\n")

    def enforce_timeout(self) -> None:
        """Ask jobs that exceed sweep.timeout to save and stop; kill those that do not."""
        limit = self.sweep.settings.timeout
        for each in self.running:
            if limit is None:
                return
            if each.asked is None and time.monotonic() - each.started > limit:
                each.asked = time.monotonic()
                each.ranks.signal(signal.SIGTERM)
            elif each.asked is not None and time.monotonic() - each.asked > GRACE:
                each.ranks.kill()

    def handle_signals(self) -> None:
        """End the sweep after a signal; kill the jobs after a second one, or a minute later."""
        if self.stop.requests > 0 and not self.ending:
            self.end()
        if self.stop.requests > 1 or time.monotonic() - self.asked > PATIENCE:
            for each in self.running:
                each.ranks.kill()

    def end_after_error(self) -> None:
        """End the sweep if sweep.on_error says so."""
        if self.sweep.settings.on_error == "stop" and not self.ending:
            self.end()

    def end(self) -> None:
        """Start no more jobs, and ask the running ones to save and stop."""
        self.ending, self.asked = True, time.monotonic()
        self.screen.ending([each.job for each in self.running])
        for each in self.running:
            each.ranks.signal(signal.SIGINT)


def describe_death(rank: int, code: int | None) -> tuple[str, str]:
    """Return the type and the message of the error to record for a job.

    Args:
        rank: rank that ended the job.
        code: its exit code.
    """
    kind = "Killed" if code in (-signal.SIGKILL, server.LOST) else "Died"
    return kind, (f"rank {rank}: " if rank > 0 else "") + f"{server.describe_exit(code)}; see run.log"
