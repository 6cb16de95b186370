"""How the jobs of a sweep share this machine."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from runner.errors import ConfigError


@dataclass(frozen=True)
class Machine:
    """This machine, shared by the jobs of a sweep.

    Args:
        slots: how many jobs run at the same time.
        gpus: the GPUs of the machine, as CUDA_VISIBLE_DEVICES names them.
        processes: number of processes of each job on this machine.
        environment: additional environment variables of all jobs.
    """

    slots: int
    gpus: list[str]
    processes: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def share(cls, jobs: int | None, gpus: list[str], max_jobs: int, processes: int = 1) -> "Machine":
        """Return the machine for a sweep.

        Args:
            jobs: how many jobs run at the same time; None: one process per GPU, or per core if there are no GPUs.
            gpus: the GPUs of the machine.
            max_jobs: the largest number of jobs that wait at the same time.
            processes: number of processes of each job.

        Raises:
            ConfigError: there are GPUs, but fewer than a job has processes.
        """
        if 0 < len(gpus) < processes:
            raise ConfigError(
                f"sweep.processes: found {processes}, but this machine has {len(gpus)} GPU(s), and each process needs "
                f"its own; allowed: 1 to {len(gpus)}, or any number with device.name=cpu"
            )
        return cls(max(1, min(jobs or (len(gpus) or cores()) // processes, max_jobs)), gpus, processes)

    @property
    def threads(self) -> int:
        """Number of threads per process, such that all jobs together have one thread per core."""
        return max(1, cores() // (self.slots * self.processes))

    def visible(self, slot: int) -> str | None:
        """Return the GPUs for the job in a slot, as a value of CUDA_VISIBLE_DEVICES; None: all of the machine."""
        groups = len(self.gpus) // self.processes
        if groups == 0:
            return None
        first = slot % groups * self.processes
        return ",".join(self.gpus[first : first + self.processes])

    def describe(self, threads: int | None) -> str:
        """Return in words how the jobs share the machine.

        Args:
            threads: number of threads per process.
        """
        each = f"{threads} thread{'' if threads == 1 else 's'} each"
        several = f"{self.processes} processes per job, " if self.processes > 1 else ""
        return f"{self.slots} at a time, {several}" + (f"on GPUs {', '.join(self.gpus)}" if self.gpus else each)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
