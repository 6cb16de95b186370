"""The steps of a sweep: compose and check every job, freeze them, run them, tell what came."""

import math
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from runner.errors import ConfigError
from runner.machine.signals import Stop
from runner.runs.folder import locked
from runner.sweep import server
from runner.sweep.jobs import Job, Sweep
from runner.sweep.picture import Picture
from runner.sweep.plan import Machine, current, refuse_torchrun, told
from runner.sweep.pool import Pool
from runner.sweep.screen import Screen, show_end, show_plan
from runner.sweep.table import Table
from runner.tracking.console import console
from runner.tracking.results import DONE, read_results, status_of


def run(sweep: Sweep, jobs: Sequence[Job], machine: Machine) -> None:
    """Runs jobs of a sweep on this machine.

    Raises:
        SystemExit: a signal ended it, after the jobs had saved; or a job failed and sweep.on_error is stop.
    """
    show_plan(sweep, len(jobs), machine.describe(jobs[0].config.device.threads))
    with locked(sweep.folder), Stop() as stop, Files(Table(sweep)) as files, Screen(files.table) as screen:
        stop.can_wait = True
        pool = Pool(sweep, machine.places, machine.gpus, stop, screen, files.save)
        pool.run(jobs)
    if pool.ending:
        finish()
        raise SystemExit(stop.exit_code if stop.requested else 1)


class Files:
    """The table and the picture in the sweep folder, while entered and at last. A full disk costs them alone."""

    def __init__(self, table: Table) -> None:
        self.table, self.picture = table, Picture(table)

    def save(self) -> None:
        self._write("table", self.table.save)
        self._write("picture", self.picture.save)

    def _write(self, what: str, save: Callable[[], None]) -> None:
        try:
            save()
        except Exception as error:  # a full disk, or a fault of a picture, is not worth a job
            console.print(f"warning: the {what} cannot be written: {error}; the sweep goes on", style="yellow")

    def __enter__(self) -> "Files":
        self._write("table", self.table.save)
        return self

    def __exit__(self, *details: object) -> None:
        self._write("table", self.table.save)
        self._write("picture", self.picture.finish)


def run_elsewhere(sweep: Sweep, launch: Callable[[], Any]) -> Any:
    """Has another launcher run the jobs, each of which finds itself in sweep.yaml.

    Raises:
        SystemExit: a signal ended the wait for them.
    """
    show_plan(sweep, len(sweep.jobs), "by another launcher")
    with Files(Table(sweep)), Stop() as stop:
        try:
            return launch()
        except KeyboardInterrupt:
            pass
        except Exception as error:  # as that launcher tells it
            if not stop.cut_short:
                console.print(f"warning: {type(error).__name__}: {error}", style="yellow")
                return None
    finish()
    console.print("jobs that the launcher has started elsewhere may still run: end them there, or wait for them")
    raise SystemExit(stop.exit_code)


def finish() -> int:
    """Shows what came of this process's sweep; returns the exit code: 0 when every job is done, else 1."""
    if not current:
        return 0
    sweep, begun = current.pop()
    show_end(Table(sweep), time.monotonic() - begun)
    return int(any(status_of(sweep.path(job)) not in DONE for job in sweep.jobs))


def run_one(folder: Path, number: int) -> float:
    """Runs one job of a sweep, as another launcher asks in a process of its own; returns the job's best metric."""
    server.start()
    sweep = Sweep.open(folder)
    job = sweep.jobs[number]
    with Stop(signal.SIGUSR2) as stop, Files(Table(sweep)) as files, Screen(files.table) as screen:
        stop.can_wait = True
        Pool(sweep, 1, [], stop, screen, files.save).run([job])
    stop.pass_on()  # submitit queues the job again after a SIGUSR2, a launcher in one process ends at Ctrl-C
    return best_of(sweep, job)


def best_of(sweep: Sweep, job: Job) -> float:
    """The best metric of a job; of one that is not done the worst there is, so that a search stays away from it."""
    results = read_results(sweep.path(job))
    value = (results.get("best") or {}).get("value")
    if results.get("status") in DONE and value is not None:
        return float(value)
    return math.inf if job.config.trainer.checkpoint.mode == "min" else -math.inf


def resume(folder: Path, retry_failed: bool, jobs: int | None) -> int:
    """Runs what is left of a sweep: jobs that were interrupted or never started; those that failed, if wanted.

    Args:
        jobs: at once; None: as the sweep was started.

    Raises:
        ConfigError: sweep.yaml is damaged, the folder is in use, or a job cannot run any more. Nothing was touched.
    """
    refuse_torchrun()
    server.start()
    sweep = Sweep.open(folder)
    current[:] = [(sweep, time.monotonic())]
    table = Table(sweep)
    left = [job for job in sweep.jobs if table.is_left(job, retry_failed)]
    if not left:
        with locked(folder), Files(table):
            console.print(f"nothing is left to do: {folder}")
        return finish()
    problems, gpus = server.check(dict(enumerate(job.config for job in left)))
    if problems:
        raise ConfigError(*told(problems, [job.folder for job in left]))
    run(sweep, left, Machine.share(jobs or sweep.settings.jobs, gpus, len(left)))
    return finish()
