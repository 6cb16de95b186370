import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from runner.errors import ConfigError
from runner.machine.distributed import World, join, leave

OnRanks = Callable[..., list[Any]]


@given(samples=st.integers(0, 50), size=st.integers(1, 9), each=st.sampled_from([1, 2, 4]))
def test_shards_partition_the_batch_and_differ_by_at_most_one(samples: int, size: int, each: int) -> None:
    ranks = [World(rank, size, shards=each * size).cut(torch.arange(samples)) for rank in range(size)]
    assert [len(shards) for shards in ranks] == [each] * size
    shards = [shard for shards in ranks for shard in shards]
    assert torch.cat(shards).tolist() == list(range(samples))
    lengths = [len(shard) for shard in shards]
    assert max(lengths) - min(lengths) <= 1


@given(samples=st.integers(0, 50), shards=st.sampled_from([1, 2, 4, 8]))
def test_shards_do_not_depend_on_the_world_size(samples: int, shards: int) -> None:
    sizes = [2**power for power in range(shards.bit_length())]
    cuts = [
        [shard.tolist() for rank in range(size) for shard in World(rank, size, shards).cut(torch.arange(samples))]
        for size in sizes
    ]
    assert all(cut == cuts[0] for cut in cuts)


def test_each_rank_owns_consecutive_shards() -> None:
    assert [list(World(rank, 2, shards=8).own_shards) for rank in range(2)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [list(World(rank, 3).own_shards) for rank in range(3)] == [[0], [1], [2]]


def test_salt_differs_between_ranks() -> None:
    assert [World(rank, 3).salt for rank in range(3)] == [(), (1,), (2,)]
    assert [World(rank, 2, shards=8).salt for rank in range(2)] == [(), (4,)]


def test_collective_methods_combine_the_values_of_all_ranks(on_ranks: OnRanks) -> None:
    def call(world: World) -> dict[str, Any]:
        world.shards, tensor = 4, torch.full((2,), float(world.rank))
        model = nn.BatchNorm1d(2)
        model.running_mean = torch.full((2,), float(world.rank))
        world.broadcast_tensors(tensor)
        world.broadcast_buffers(model)
        return {
            "all_gather": world.all_gather({"rank": world.rank}),
            "rows": world.all_gather_rows([[10 * world.rank + shard, 0.5] for shard in range(2)]),
            "sum_over_shards": world.sum_over_shards([[0.1, 2**40 + 1], [0.1, 0]]),
            "start_all_reduce": world.start_all_reduce([world.rank + 1, 2])(),
            "any": (world.any(world.rank == 1), world.any(False)),
            "broadcast": world.broadcast(f"of rank {world.rank}"),
            "broadcast_tensors": (tensor.tolist(), model.running_mean.tolist()),
        }

    assert on_ranks(call) == 2 * [
        {
            "all_gather": [{"rank": 0}, {"rank": 1}],
            "rows": [[0, 0.5], [1, 0.5], [10, 0.5], [11, 0.5]],
            "sum_over_shards": [0.1 + 0.1 + 0.1 + 0.1, 2**41 + 2],
            "start_all_reduce": [3, 4],
            "any": (True, False),
            "broadcast": "of rank 0",
            "broadcast_tensors": ([0, 0], [0, 0]),
        }
    ]


def test_sums_over_shards_have_the_same_bits_for_any_world_size(on_ranks: OnRanks) -> None:
    rows = [[random.Random(shard).uniform(-1, 1) * 10**shard] for shard in range(8)]

    def total(world: World) -> float:
        world.shards = 8
        return world.sum_over_shards([rows[shard] for shard in world.own_shards])[0]

    expected = World(shards=8).sum_over_shards(rows)[0]
    for size in (2, 4):
        assert on_ranks(total, size) == [expected] * size


def test_tree_all_reduce_adds_in_a_binary_tree(on_ranks: OnRanks) -> None:
    parts = [torch.randn(1000, generator=torch.Generator().manual_seed(rank)) * 10**rank for rank in range(4)]

    def total(world: World) -> torch.Tensor:
        return world.tree_all_reduce(parts[world.rank].clone())

    for found in on_ranks(total, 4):
        assert torch.equal(found, (parts[0] + parts[1]) + (parts[2] + parts[3]))
        assert not torch.equal(found, ((parts[0] + parts[1]) + parts[2]) + parts[3])


def test_single_process_does_not_communicate(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("all_reduce", "all_gather", "all_gather_object", "broadcast", "broadcast_object_list", "P2POp"):
        monkeypatch.setattr(dist, name, None)
    monkeypatch.setattr(dist, "destroy_process_group", None)
    world, other = join(torch.device("cpu"), 1), join(torch.device("cpu"), 1)
    assert world is not other  # a run sets its shards
    world.broadcast_tensors(torch.ones(2))
    world.broadcast_buffers(nn.BatchNorm1d(2))
    world.check_ranks_agree({"seed": 1})
    assert world.tree_all_reduce(torch.ones(2)).tolist() == [1, 1]
    assert world.sum_over_shards([[1, 2.5], [3, 1.5]]) == [4, 4]
    assert (world.any(True), world.any(False)) == (True, False)
    assert (world.all_gather("mine"), world.broadcast("mine")) == (["mine"], "mine")
    assert (world.is_leader, world.salt, list(world.own_shards)) == (True, (), [0])
    leave(world)


def test_different_facts_are_refused_on_all_ranks(on_ranks: OnRanks) -> None:
    def refuse(world: World) -> str:
        world.check_ranks_agree({"config seed": 1, "version of torch": "2"})
        with pytest.raises(ConfigError) as caught:
            world.check_ranks_agree({"config seed": world.rank % 2, "version of torch": "2"})
        return str(caught.value)

    assert on_ranks(refuse, 3) == ["rank 1 (process 1 on here): config seed: found 1, rank 0 has 0"] * 3
