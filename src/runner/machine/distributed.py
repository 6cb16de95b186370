"""Data-parallel training in several processes, started by torchrun or by a sweep.

Each batch is divided into shards, and each rank computes some of them. All ranks build the same parts from the same
seed, make the same decisions, and have the same weights after every step. Only rank 0 has a run folder, logs and saves.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from runner.errors import ConfigError
from runner.machine.ranks import rank, world_size
from runner.machine.rendezvous import Member, meet, open_store

T = TypeVar("T")
MARGIN = 60.0  # seconds by which NCCL waits longer than Gloo, which can name the rank at fault


@dataclass(eq=False)
class World:
    """The processes of a run. With a single one, which is the default, nothing is communicated.

    All ranks must call the collective methods (`all_gather`, `sum_over_shards`, `any`, ...) in the same order.

    Args:
        rank: rank of this process.
        size: world size.
        shards: number of shards of each batch, a multiple of the world size.
        is_sharded: whether `trainer.shards` sets their number, so that the world size does not change any bit.
        members: the processes by rank; empty for a single one.
        store: store of this group of processes, in which a failed rank leaves its reason.
        timeout: seconds to wait for another rank.
        group: process group for tensors on the CPU; None: the default group.
        current: index of the shard that is being computed, among those of this rank.
        has_failed: whether this rank has reported a failure.
        in_use: what stays alive until the process ends, because freeing DistributedDataParallel can wait for Gloo.
    """

    rank: int = 0
    size: int = 1
    shards: int = 1
    is_sharded: bool = False
    members: list[Member] = field(default_factory=list)
    store: Any = None
    timeout: float = 0.0
    group: Any = None
    current: int = 0
    has_failed: bool = False
    in_use: Any = None

    def __post_init__(self) -> None:
        self.shards = max(self.shards, self.size)

    @property
    def is_leader(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    @property
    def own_shards(self) -> range:
        """The shards of this rank."""
        each = self.shards // self.size
        return range(self.rank * each, (self.rank + 1) * each)

    @property
    def salt(self) -> tuple[int, ...]:
        """What to append to the purpose of a seed so that ranks differ; empty for rank 0, as in a single process."""
        return () if self.is_leader else (self.own_shards.start,)

    def cut(self, samples: Tensor) -> list[Tensor]:
        """Return this rank's shards of a batch [B, ...]; they differ in length by at most one, and may be empty."""
        if self.shards == 1:
            return [samples]
        return list(samples.tensor_split(self.shards)[self.own_shards.start : self.own_shards.stop])

    def all_gather(self, value: T) -> list[T]:
        """Return the values of all ranks, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.group)
        return values

    def all_gather_rows(self, rows: Sequence[Sequence[float]]) -> list[list[float]]:
        """Return rows of numbers for all shards, from one row for each shard of this rank."""
        if self.size == 1:
            return [list(row) for row in rows]
        own = torch.tensor(rows, dtype=torch.float64)
        all_rows = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(all_rows, own, group=self.group)
        return torch.cat(all_rows).tolist()

    def sum_over_shards(self, rows: Sequence[Sequence[float]]) -> list[float]:
        """Return the sum of each number over all shards, from one row for each shard of this rank.

        They are added in the order of the shards, so that the world size does not change the result.
        """
        return [sum(column) for column in zip(*self.all_gather_rows(rows), strict=True)]

    def start_all_reduce(self, numbers: Sequence[float]) -> Callable[[], list[float]]:
        """Start to sum numbers over all ranks, and return a function that waits for the result."""
        sums = torch.tensor(numbers, dtype=torch.float64)
        work: Any = dist.all_reduce(sums, group=self.group, async_op=True)

        def result() -> list[float]:
            work.wait()
            return sums.tolist()

        return result

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set on any rank."""
        return flag if self.size == 1 else self.start_all_reduce([flag])()[0] > 0

    def broadcast(self, value: T) -> T:
        """Return the value of rank 0."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, group=self.group)
        return values[0]

    def broadcast_tensors(self, *tensors: Tensor) -> None:
        """Broadcast tensors from rank 0, in place."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), 0)

    def broadcast_buffers(self, module: nn.Module) -> None:
        """Broadcast the buffers of a module from rank 0, such as the running statistics of batch normalization."""
        self.broadcast_tensors(*module.buffers())

    def tree_all_reduce(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all ranks by recursive doubling.

        At distance 1, 2, 4, ..., each rank adds the sum of its partner to its own. Because a + b = b + a, all ranks get
        the same bits. The world size is a power of two.
        """
        distance = 1
        while distance < self.size:
            theirs, partner = torch.empty_like(tensor), self.rank ^ distance
            pair = [dist.P2POp(dist.isend, tensor, partner), dist.P2POp(dist.irecv, theirs, partner)]
            for work in dist.batch_isend_irecv(pair):
                work.wait()
            tensor, distance = tensor + theirs, 2 * distance
        return tensor

    def check_ranks_agree(self, facts: dict[str, object]) -> None:
        """Check that all ranks have the same facts.

        Raises:
            ConfigError: on all ranks; with one line for each rank and fact that differs from rank 0.
        """
        first, *others = self.all_gather(facts)
        problems = [
            f"rank {number} ({self.members[number]}): {key}: found {other.get(key)!r}, rank 0 has {first.get(key)!r}"
            for number, other in enumerate(others, start=1)
            for key in sorted(first.keys() | other.keys())
            if repr(other.get(key)) != repr(first.get(key))
        ]
        if problems:
            raise ConfigError(*problems)

    def report_failure(self, reason: str) -> None:
        """Let the other ranks know why this one ends; the first reason counts."""
        if self.store is not None and not self.has_failed:
            self.has_failed = True
            with suppress(RuntimeError):
                self.store.set(f"failed/{self.rank}", reason.strip() or "no reason given")


ALONE = World()


def join(device: torch.device, timeout: float) -> World:
    """Join the processes of a run; without torchrun, the world is this process.

    Args:
        device: device of this rank.
        timeout: seconds to wait for another rank.

    Raises:
        RunnerError: other ranks are missing.
    """
    if world_size() == 1:
        return replace(ALONE)
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    store, members = meet(open_store(rank(), timeout), rank(), world_size(), timeout)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=store,
        rank=rank(),
        world_size=world_size(),
        timeout=timedelta(seconds=timeout + MARGIN if on_gpu else timeout),
        device_id=device if on_gpu else None,
    )
    group = dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout)) if on_gpu else None
    return World(rank(), world_size(), members=members, store=store, timeout=timeout, group=group)


def leave(world: World) -> None:
    """Leave the group after success. After a failure, do not: it would wait for the other ranks."""
    if world.size > 1:
        dist.destroy_process_group()
