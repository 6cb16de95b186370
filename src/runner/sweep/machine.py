"""How the jobs of a sweep share this machine."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """This machine, shared by the jobs of a sweep.

    Args:
        places: how many jobs run at a time.
        gpus: the GPUs of the machine, as CUDA_VISIBLE_DEVICES names them.
    """

    places: int
    gpus: list[str]

    @classmethod
    def share(cls, jobs: int | None, gpus: list[str], most: int) -> "Machine":
        """Return the machine for a sweep.

        Args:
            jobs: how many run at a time; None for one per GPU, or per core without GPUs.
            gpus: the GPUs of the machine.
            most: how many jobs there are.
        """
        return cls(max(1, min(jobs or len(gpus) or cores(), most)), gpus)

    @property
    def threads(self) -> int:
        """The threads of each job: together the jobs use each core once."""
        return max(1, cores() // self.places)

    def describe(self, threads: int | None) -> str:
        """Return in words how the jobs, with so many threads each, share the machine."""
        each = f"{threads} thread{'' if threads == 1 else 's'} each"
        return f"{self.places} at a time, " + (f"on GPUs {', '.join(self.gpus)}" if self.gpus else each)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
