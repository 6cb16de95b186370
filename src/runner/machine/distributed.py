"""Data-parallel training in several processes, started by torchrun.

Each process gets its share of every batch. All ranks build the same parts from the same seed, make the same decisions,
and have the same weights after every step, because their gradients are summed before it. Only rank 0 has a run folder,
logs and saves.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from runner.errors import RunnerError
from runner.machine.ranks import world_size

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The processes of a run. With a single one, which is the default, nothing is communicated.

    All ranks must call the collective methods (`add_up_gradients`, `totals`, `any`, `gather`, `broadcast`, `align`) in
    the same order. These raise RunnerError if communication fails, for example because another process has ended.

    Args:
        rank: rank of this process.
        size: world size.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    @property
    def salt(self) -> tuple[int, ...]:
        """What to append to the purpose of a seed so that ranks differ; empty for rank 0, as in a single process."""
        return () if self.leads else (self.rank,)

    def share(self, samples: Tensor) -> Tensor:
        """Return this rank's share of a batch [B, ...]; the shares differ in length by at most one."""
        return samples if self.size == 1 else samples.tensor_split(self.size)[self.rank]

    def add_up_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Sum the gradients over all ranks with a single all-reduce.

        A missing gradient counts as zero, because another rank may have one for the same parameter.
        """
        if self.size == 1:
            return
        grads = []
        for parameter in [each for each in parameters if each.requires_grad]:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            grads.append(parameter.grad)
        parts = [torch.view_as_real(grad) if grad.is_complex() else grad for grad in grads]
        message = torch.cat([part.flatten() for part in parts])
        with explained_errors():
            dist.all_reduce(message)
        for part, total in zip(parts, message.split([part.numel() for part in parts]), strict=True):
            part.copy_(total.view_as(part))

    def totals(self, numbers: Sequence[float]) -> list[float]:
        """Return the sum of each number over all ranks. The numbers stay on the CPU."""
        if self.size == 1:
            return list(numbers)
        message = torch.tensor(numbers, dtype=torch.float64)
        with explained_errors():
            dist.all_reduce(message)
        return message.tolist()

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set on any rank."""
        return flag if self.size == 1 else self.totals([flag])[0] > 0

    def gather(self, value: T) -> list[T]:
        """Return the values of the other ranks on rank 0, and [] on the others."""
        if self.size == 1:
            return []
        values: list[Any] | None = [None] * self.size if self.leads else None
        with explained_errors():
            dist.gather_object(value, values)
        return values[1:] if values else []

    def broadcast(self, value: T) -> T:
        """Return the value of rank 0."""
        if self.size == 1:
            return value
        values = [value]
        with explained_errors():
            dist.broadcast_object_list(values)
        return values[0]

    def align(self, module: nn.Module) -> None:
        """Broadcast the buffers of a module from rank 0, such as the running statistics of batch normalization.

        This comes before a validation, because during training each rank has its own buffers.
        """
        if self.size > 1:
            with explained_errors():
                for buffer in module.buffers():
                    dist.broadcast(buffer, 0)


ALONE = World()


@contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """Join the process group of torchrun; without torchrun, the world is this process.

    Args:
        device: device of this rank.
    """
    if world_size() == 1:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with explained_errors():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


@contextmanager
def explained_errors() -> Iterator[None]:
    """Raise errors of torch.distributed as a RunnerError, whose message names the cause."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise RunnerError(f"torchrun: cannot communicate with the other processes of this run: {reason}") from error
