"""How the jobs of a sweep share this machine."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """This machine, shared by the jobs of a sweep.

    Args:
        places: how many jobs run at the same time.
        gpus: the GPUs of the machine, as CUDA_VISIBLE_DEVICES names them.
    """

    places: int
    gpus: list[str]

    @classmethod
    def share(cls, jobs: int | None, gpus: list[str], most: int) -> "Machine":
        """Return the machine for a sweep.

        Args:
            jobs: how many jobs run at the same time; None: one per GPU, or one per core if there are no GPUs.
            gpus: the GPUs of the machine.
            most: the number of jobs in the sweep.
        """
        return cls(max(1, min(jobs or len(gpus) or cores(), most)), gpus)

    @property
    def threads(self) -> int:
        """Number of threads per job, such that all jobs together have one thread per core."""
        return max(1, cores() // self.places)

    def describe(self, threads: int | None) -> str:
        """Return in words how the jobs share the machine.

        Args:
            threads: number of threads per job.
        """
        each = f"{threads} thread{'' if threads == 1 else 's'} each"
        return f"{self.places} at a time, " + (f"on GPUs {', '.join(self.gpus)}" if self.gpus else each)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
