"""Run the jobs of a sweep, keep its table and picture up to date, and report the results."""

import math
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from runner.errors import ConfigError, SweepStopped
from runner.machine.signals import Stop
from runner.runs.folder import fill_run_folder, locked
from runner.runs.origin import started_in, with_origin
from runner.sweep.execution import server
from runner.sweep.execution.machine import Machine, cores
from runner.sweep.execution.pool import Pool
from runner.sweep.execution.processes import Ranks
from runner.sweep.execution.tasks import take_part, task_environment, threads_of_task
from runner.sweep.halving import Roster
from runner.sweep.jobs import Job, Sweep, with_threads
from runner.sweep.plan import check_no_torchrun, merge_problems
from runner.sweep.report import margins
from runner.sweep.report.picture import Picture
from runner.sweep.report.screen import Screen, report_end, show_end, show_plan
from runner.sweep.report.table import Table
from runner.tracking.console import console
from runner.tracking.results import DONE, DROPPED, read_results, status_of


def run(sweep: Sweep, jobs: Sequence[Job], machine: Machine) -> None:
    """Run jobs of a sweep on this machine.

    Raises:
        SweepStopped: a signal came, or a job failed and sweep.on_error is stop; the jobs have saved.
    """
    show_plan(sweep, len(jobs), machine.describe(jobs[0].config.device.threads))
    with locked(sweep.folder), Stop() as stop, Files(Table(sweep)) as files, Screen(files.table) as screen:
        stop.can_wait = True
        pool = Pool(sweep, machine, stop, screen, files.save)
        pool.roster = Roster(sweep)
        for each in rounds(files.table, jobs):
            pool.run(each)
            if pool.ending:
                break
    if pool.ending:
        exit_code = stop.exit_code if stop.requested else 1
        finish(sweep, exit_code)
        raise SweepStopped(exit_code)


def rounds(table: Table, jobs: Sequence[Job]) -> Iterable[Sequence[Job]]:
    """Return the rounds of jobs to run: one, or in a race one per look, chosen by the results so far."""
    return [jobs] if table.race is None else table.race.rounds(jobs)


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
            console.warn(f"the {what} cannot be written: {error}; the sweep continues")

    def __enter__(self) -> "Files":
        self._write("table", self.table.save)
        return self

    def __exit__(self, *details: object) -> None:
        self._write("table", partial(self.table.save, ended=True))
        self._write("charts for TensorBoard", partial(margins.save, self.table))
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
                console.warn(f"{type(error).__name__}: {error}")
                return None
    finish(sweep, stop.exit_code)
    console.print("jobs that the launcher has started elsewhere may still run: cancel them there, or wait for them")
    raise SweepStopped(stop.exit_code)


def finish(sweep: Sweep, exit_code: int | None = None) -> int:
    """Print the results of a sweep; return the exit code.

    Args:
        sweep: the sweep.
        exit_code: exit code of a sweep that was stopped; None: 0 if all jobs are done or dropped, otherwise 1.
    """
    table = Table(sweep)
    if exit_code is None:
        exit_code = int(any(status_of(sweep.path(job)) not in (*DONE, DROPPED) for job in sweep.jobs))
    report_end(table, exit_code)
    show_end(table, time.monotonic() - sweep.began)
    return exit_code


def run_one(folder: Path, number: int) -> float:
    """Run one job of a sweep in a process that another launcher has started; return the job's best metric.

    If the launcher has started several tasks for the job, run the rank of this task.
    """
    server.start()
    sweep = Sweep.open(folder)
    job = sweep.jobs[number]
    task = task_environment(folder)
    machine = Machine(1, [], sweep.settings.processes, task)
    threads = threads_of_task(task, cores()) if task else machine.threads
    here = replace(job, config=with_threads(job.config, threads)) if task or machine.processes > 1 else job
    with Stop(signal.SIGUSR2) as stop:
        stop.can_wait = True
        if task.get("RANK", "0") == "0":
            with Files(Table(sweep)) as files, Screen(files.table) as screen:
                Pool(sweep, machine, stop, screen, files.save).run([here])
            if "RUNNER_STORE" in task:
                Path(task["RUNNER_STORE"]).unlink(missing_ok=True)
        else:
            run_folder = fill_run_folder(sweep.path(job))
            start = partial(server.start_job, here.config, run_folder, job.overrides, job.swept)
            take_part(Ranks(start, 1, task), run_folder, stop)
    stop.pass_on()  # submitit requeues the job on SIGUSR2; a launcher in this process ends on Ctrl-C
    return best_of(sweep, job)


def best_of(sweep: Sweep, job: Job) -> float:
    """Return the best metric of a job; if it is not done, the worst possible, so that a search avoids its values."""
    results = read_results(sweep.path(job))
    value = (results.get("best") or {}).get("value")
    if results.get("status") in DONE and value is not None:
        return float(value)
    return math.inf if job.config.trainer.checkpoint.mode == "min" else -math.inf


def tell(sweep: Sweep, jobs: Sequence[Job], first: int) -> list[float]:
    """Return the best metrics of jobs. A search is told each of them once, even if the job is trained further later.

    Args:
        sweep: the sweep.
        jobs: successive jobs of the sweep.
        first: number of the first one, from 0.
    """
    if sweep.search is None:
        return [best_of(sweep, job) for job in jobs]
    told = sweep.search.told
    told += [best_of(sweep, job) for job in sweep.jobs[len(told) : first + len(jobs)]]
    return told[first : first + len(jobs)]


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
    check_no_torchrun()
    server.start()
    sweep = Sweep.open(folder)
    table = Table(sweep)
    left = [job for job in sweep.jobs if table.is_left(job, retry_failed)]
    if not left and table.race is not None:
        left = table.race.needed()  # dropped ones, if runs that had failed were repeated
    if not left:
        with locked(folder), Files(table):
            console.print(f"nothing is left to do: {folder}")
        return finish(sweep)
    run_left(sweep, left, jobs)
    return finish(sweep)


def run_left(sweep: Sweep, left: Sequence[Job], jobs: int | None) -> None:
    """Check and run jobs that were frozen by an earlier process.

    Args:
        sweep: the sweep.
        left: its jobs to run.
        jobs: how many jobs run at a time; None: as many as when the sweep was started.

    Raises:
        ConfigError: a job can no longer run; nothing was changed.
        SweepStopped: for the same reasons as in `run`.
    """
    problems, gpus = server.check(dict(enumerate(job.config for job in left)))
    if problems:
        error = ConfigError(*merge_problems(problems, [job.folder for job in left]))
        folders = map(sweep.path, sweep.jobs)
        begun = next((folder for folder in folders if started_in(folder) is not None), sweep.folder)
        raise with_origin(begun, error, frozen=True)
    settings = sweep.settings
    run(sweep, left, Machine.share(jobs or settings.jobs, gpus, len(left), settings.processes))
