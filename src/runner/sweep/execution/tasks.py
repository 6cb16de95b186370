"""Jobs that submitit runs in several tasks, on one machine or on several: each task starts one rank of the job."""

import os
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from runner.config.schema import Config
from runner.machine.signals import Stop
from runner.sweep.execution.processes import GRACE, Ranks, on_loopback, variables
from runner.tracking.results import ENDED, read_results

TICK = 1.0  # seconds between two reads of the results of rank 0
PORTS = range(15000, 30000)  # for the ranks of a job on several machines; below those that systems assign themselves


def count_tasks(launcher: Any) -> int:
    """Return the number of tasks per job in the config of a launcher (`hydra.launcher`)."""
    return int(launcher.get("nodes") or 1) * int(launcher.get("tasks_per_node") or 1)


def unsupported(configs: Mapping[int, Config], tasks: int) -> dict[int, Sequence[str]]:
    """Return the problems of jobs whose sweep settings do not fit several tasks, by number of the job.

    Args:
        configs: configs by number of the job.
        tasks: number of tasks per job.
    """
    problems: dict[int, Sequence[str]] = {}
    for number, config in configs.items() if tasks > 1 else ():
        wrong = []
        if config.sweep.processes > 1:
            wrong.append(
                f"sweep.processes: found {config.sweep.processes}, but each of the {tasks} tasks that hydra.launcher "
                "starts for a job is a process of the run; allowed: 1"
            )
        if config.sweep.retries > 0:
            wrong.append(
                f"sweep.retries: found {config.sweep.retries}, but a job of {tasks} tasks is not retried; allowed: 0. "
                "Run failed jobs again with: resume SWEEP --retry-failed"
            )
        if wrong:
            problems[number] = wrong
    return problems


def task_environment(folder: Path) -> dict[str, str]:
    """Return the environment variables of this task's rank; none if the job has a single task.

    Args:
        folder: folder that all tasks of the job share.
    """
    if "SUBMITIT_EXECUTOR" not in os.environ:
        return {}
    from submitit import JobEnvironment

    task = JobEnvironment()
    if task.num_tasks == 1:
        return {}
    own = variables(task.global_rank, task.num_tasks, task.local_rank, task.num_tasks // task.num_nodes)
    if task.num_nodes == 1:
        return own | on_loopback(folder / f".ranks-{task.job_id}")
    port = PORTS[int(task.raw_job_id) % len(PORTS)]
    return own | {"MASTER_ADDR": task.hostnames[0], "MASTER_PORT": str(port)}


def threads_of_task(environment: Mapping[str, str], cores: int) -> int:
    """Return the number of threads for the rank of this task.

    Args:
        environment: environment variables of the rank.
        cores: number of cores that this process may use.
    """
    reserved = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return int(reserved) if reserved.isdecimal() else max(1, cores // int(environment["LOCAL_WORLD_SIZE"]))


def take_part(ranks: Ranks, folder: Path, stop: Stop) -> None:
    """Wait until the rank of this task has ended. Kill it after a second signal, or if it is left behind by rank 0.

    Args:
        ranks: rank of this task.
        folder: run folder, in which the task of rank 0 records the end of the job.
        stop: received signals. The first one needs no action, because the task of rank 0 receives it, too.
    """
    before, over = read_results(folder), None
    while ranks.is_alive():
        wait([ranks.sentinel], timeout=TICK)
        now = read_results(folder)
        if now == before or now.get("status") not in (*ENDED, "interrupted"):
            over = None
        elif over is None:
            over = time.monotonic()
        if stop.requests > 1 or (over is not None and time.monotonic() - over > GRACE):
            ranks.kill()
    ranks.end()
