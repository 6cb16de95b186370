"""The processes that train one model together: what `torchrun` starts, each with its share of every batch.

All build the same parts from the same seed, make the same decisions, and have the same weights after every step: the
gradients of their shares are added up before it. The first of them, the leader, alone has a folder, logs and saves.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from runner.errors import RunnerError

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The processes of a run; by default this one alone, for which nothing here costs anything.

    What all are asked for (gradients, `totals`, `any`, `gather`, `tell`, `align`) all must call, in the same order.

    Args:
        rank: of this process, from 0 on. size: how many there are.

    Raises:
        RunnerError: another process has ended, or cannot be reached.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    @property
    def own(self) -> tuple[int, ...]:
        """What tells this process's random numbers from those of the leader, whose are those of a run by itself."""
        return () if self.leads else (self.rank,)

    def share(self, samples: Tensor) -> Tensor:
        """This process's part of a batch [B, ...]; the parts differ in length by one at most."""
        return samples if self.size == 1 else samples.tensor_split(self.size)[self.rank]

    def add_up_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Makes each parameter's gradient the sum of all processes' ones, on their device, in one message."""
        if self.size == 1:
            return
        grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not grads:
            return
        parts = [torch.view_as_real(grad) if grad.is_complex() else grad for grad in grads]
        message = torch.cat([part.flatten() for part in parts])
        with together():
            dist.all_reduce(message)
        for part, total in zip(parts, message.split([part.numel() for part in parts]), strict=True):
            part.copy_(total.view_as(part))

    def totals(self, numbers: Sequence[float]) -> list[float]:
        """The sum of all processes' numbers, one by one; no device is waited for."""
        if self.size == 1:
            return list(numbers)
        message = torch.tensor(numbers, dtype=torch.float64)
        with together():
            dist.all_reduce(message)
        return message.tolist()

    def any(self, flag: bool) -> bool:
        """Whether a process says so."""
        return flag if self.size == 1 else self.totals([flag])[0] > 0

    def gather(self, value: T) -> list[T]:
        """The values of the others, for the leader."""
        if self.size == 1:
            return []
        values: list[Any] | None = [None] * self.size if self.leads else None
        with together():
            dist.gather_object(value, values)
        return values[1:] if values else []

    def tell(self, value: T) -> T:
        """The leader's value, for all."""
        if self.size == 1:
            return value
        values = [value]
        with together():
            dist.broadcast_object_list(values)
        return values[0]

    def align(self, module: nn.Module) -> None:
        """Gives a module's buffers, such as the statistics of batch normalisation, the leader's values."""
        if self.size > 1:
            with together():
                for buffer in module.buffers():
                    dist.broadcast(buffer, 0)


ALONE = World()


@contextmanager
def joined() -> Iterator[World]:
    """Meets the other processes that torchrun started; without it this one is alone."""
    if world_size() == 1:
        yield ALONE
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank())
    with together():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


@contextmanager
def together() -> Iterator[None]:
    """Tells torch's errors of a message that did not get through in our words."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise RunnerError(f"torchrun: another process of this run has ended, or cannot be reached: {reason}") from error


def world_size() -> int:
    """How many processes torchrun started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """The place of this process among those on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))
