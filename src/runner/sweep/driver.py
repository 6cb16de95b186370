"""Run the jobs of a sweep, keep its table and picture up to date, and report the results."""

import math
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from runner.errors import ConfigError, SweepStopped
from runner.machine.signals import Stop
from runner.runs.folder import locked
from runner.sweep import server
from runner.sweep.jobs import Job, Sweep
from runner.sweep.machine import Machine
from runner.sweep.picture import Picture
from runner.sweep.plan import merged, refuse_torchrun
from runner.sweep.pool import Pool
from runner.sweep.screen import Screen, show_end, show_plan
from runner.sweep.table import Table
from runner.tracking.console import console
from runner.tracking.results import DONE, read_results, status_of


def run(sweep: Sweep, jobs: Sequence[Job], machine: Machine) -> None:
    """Run jobs of a sweep on this machine.

    Raises:
        SweepStopped: a signal came, or a job failed and sweep.on_error is stop; the jobs have saved.
    """
    show_plan(sweep, len(jobs), machine.describe(jobs[0].config.device.threads))
    with locked(sweep.folder), Stop() as stop, Files(Table(sweep)) as files, Screen(files.table) as screen:
        stop.can_wait = True
        pool = Pool(sweep, machine, stop, screen, files.save)
        pool.run(jobs)
    if pool.ending:
        finish(sweep)
        raise SweepStopped(stop.exit_code if stop.requested else 1)


class Files:
    """The table and the picture in the sweep folder. If they cannot be written, print a warning; the jobs continue."""

    def __init__(self, table: Table) -> None:
        self.table, self.picture = table, Picture(table)

    def save(self) -> None:
        """Update the table and the picture."""
        self._write("table", self.table.save)
        self._write("picture", self.picture.save)

    def _write(self, what: str, save: Callable[[], None]) -> None:
        try:
            save()
        except Exception as error:
            console.print(f"warning: the {what} cannot be written: {error}; the sweep goes on", style="yellow")

    def __enter__(self) -> "Files":
        self._write("table", self.table.save)
        return self

    def __exit__(self, *details: object) -> None:
        self._write("table", self.table.save)
        self._write("picture", self.picture.finish)


def run_elsewhere(sweep: Sweep, launch: Callable[[], Any]) -> Any:
    """Run the jobs with another launcher of Hydra; return what `launch` returns, or None if it fails.

    Raises:
        SweepStopped: a signal came while waiting for the jobs.
    """
    show_plan(sweep, len(sweep.jobs), "by another launcher")
    with Files(Table(sweep)), Stop() as stop:
        try:
            return launch()
        except KeyboardInterrupt:
            pass
        except Exception as error:  # some launchers report failed jobs in this way
            if not stop.cut_short:
                console.print(f"warning: {type(error).__name__}: {error}", style="yellow")
                return None
    finish(sweep)
    console.print("jobs that the launcher has started elsewhere may still run: cancel them there, or wait for them")
    raise SweepStopped(stop.exit_code)


def finish(sweep: Sweep) -> int:
    """Print the results of a sweep; return the exit code: 0 if all jobs are done, otherwise 1."""
    show_end(Table(sweep), time.monotonic() - sweep.began)
    return int(any(status_of(sweep.path(job)) not in DONE for job in sweep.jobs))


def run_one(folder: Path, number: int) -> float:
    """Run one job of a sweep in a process that another launcher has started; return the job's best metric."""
    server.start()
    sweep = Sweep.open(folder)
    job = sweep.jobs[number]
    with Stop(signal.SIGUSR2) as stop, Files(Table(sweep)) as files, Screen(files.table) as screen:
        stop.can_wait = True
        Pool(sweep, Machine(1, []), stop, screen, files.save).run([job])
    stop.pass_on()  # submitit requeues the job on SIGUSR2; a launcher in this process ends on Ctrl-C
    return best_of(sweep, job)


def best_of(sweep: Sweep, job: Job) -> float:
    """Return the best metric of a job; if it is not done, the worst possible, so that a search avoids its values."""
    results = read_results(sweep.path(job))
    value = (results.get("best") or {}).get("value")
    if results.get("status") in DONE and value is not None:
        return float(value)
    return math.inf if job.config.trainer.checkpoint.mode == "min" else -math.inf


def resume(folder: Path, retry_failed: bool, jobs: int | None) -> int:
    """Run the jobs that were interrupted or never started; return the exit code.

    Args:
        folder: the sweep folder.
        retry_failed: whether to run failed jobs again.
        jobs: how many jobs run at a time; None: as many as when the sweep was started.

    Raises:
        ConfigError: sweep.yaml is damaged, the folder is in use, or a job can no longer run; nothing was changed.
        SweepStopped: for the same reasons as in `run`.
    """
    refuse_torchrun()
    server.start()
    sweep = Sweep.open(folder)
    table = Table(sweep)
    left = [job for job in sweep.jobs if table.is_left(job, retry_failed)]
    if not left:
        with locked(folder), Files(table):
            console.print(f"nothing is left to do: {folder}")
        return finish(sweep)
    problems, gpus = server.check(dict(enumerate(job.config for job in left)))
    if problems:
        raise ConfigError(*merged(problems, [job.folder for job in left]))
    run(sweep, left, Machine.share(jobs or sweep.settings.jobs, gpus, len(left)))
    return finish(sweep)
