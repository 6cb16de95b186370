"""The processes that train one model together: what `torchrun` starts, each with its share of every batch.

All build the same parts from the same seed, make the same decisions, and have the same weights after every step: the
gradients of their shares are added up before it. The first of them, the leader, alone has a folder, logs and saves.
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
    """The processes of a run; by default this one alone, for which nothing here does anything.

    What all are asked for (gradients, `totals`, `any`, `gather`, `tell`, `align`) all must call, in the same order.

    Args:
        rank: of this process, from 0 on. size: how many there are.

    Raises:
        RunnerError: a message did not get through, as when another process has ended.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    @property
    def salt(self) -> tuple[int, ...]:
        """What tells this process's random numbers from those of the leader, whose are those of a run by itself."""
        return () if self.leads else (self.rank,)

    def share(self, samples: Tensor) -> Tensor:
        """This process's part of a batch [B, ...]; the parts differ in length by one at most."""
        return samples if self.size == 1 else samples.tensor_split(self.size)[self.rank]

    def add_up_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Makes each parameter's gradient the sum of all processes' ones, on their device, in one message.

        A parameter without a gradient counts as one with zeros: another process may have one for it.
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
        """Gives a module's buffers the leader's values: the statistics of batch normalisation, to validate with.

        While they train, each process has its own.
        """
        if self.size > 1:
            with together():
                for buffer in module.buffers():
                    dist.broadcast(buffer, 0)


ALONE = World()


@contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """Meets the other processes that torchrun started; without it this one is alone.

    Args:
        device: where this one computes, and has gradients.
    """
    if world_size() == 1:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with together():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
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
        raise RunnerError(f"torchrun: no message gets through to the other processes of this run: {reason}") from error
