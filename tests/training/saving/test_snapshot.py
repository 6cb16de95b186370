from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from helpers import totals
from runner.config.schema import Config
from runner.errors import RunnerError
from runner.machine.distributed import World
from runner.machine.seeds import rng_state
from runner.training.parts import Parts
from runner.training.saving import snapshot
from runner.training.saving.checkpoint import Snapshot, load_checkpoint
from runner.training.saving.resume import assemble, changes, starting_state
from runner.training.saving.snapshot import restore_shards, take
from runner.training.setup.build import build
from runner.training.state import TrainState


@pytest.fixture
def begun(tiny: Callable[..., Config]) -> Callable[[World, float], tuple[Parts, TrainState]]:
    """Return a function that starts a run on one rank, where it has seen one sample with the given loss."""

    def make(world: World, loss: float) -> tuple[Parts, TrainState]:
        parts = build(tiny())
        parts.world = world  # without processes to communicate with
        state = starting_state(parts)
        state.step = 7
        state.sums.update(torch.tensor(loss), 1, torch.zeros(1, 10), torch.zeros(1, dtype=torch.long))
        return parts, state

    return make


@pytest.mark.parametrize("size", [1, 2, 3])
def test_sums_of_two_ranks_are_counted_once_for_any_new_world_size(
    begun: Callable[..., tuple[Parts, TrainState]], monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    restored: list[object] = []
    monkeypatch.setattr(snapshot, "restore_rng_state", lambda rng, device: restored.append(rng["of"]))
    saved = [
        {**begun(World(rank, 2), loss)[1].shard_states()[0], "rng": {"of": rank}}
        for rank, loss in ((0, 1.0), (1, 10.0))
    ]
    losses, random = [], []
    for rank in range(size):
        parts, state = begun(World(rank, size), 500.0)
        if rank > 0 and size != 2:
            state = starting_state(parts)  # only rank 0 discards metrics: a resumed run has none before
        restore_shards(parts, state, saved)
        losses.append(totals(state.sums.shard)[0])
        random.append(torch.initial_seed())
    if size == 2:
        assert losses == [1, 10]
        assert restored == [0, 1]
    else:
        assert losses == [11, *[0] * (size - 1)]
        assert restored == [0]
        assert len(set(random)) == size


@pytest.mark.parametrize("size", [1, 2, 4])
def test_shards_are_restored_on_their_new_ranks(begun: Callable[..., tuple[Parts, TrainState]], size: int) -> None:
    rng = rng_state(torch.device("cpu"))
    saved = [{**begun(World(), float(shard))[1].shard_states()[0], "rng": rng} for shard in range(4)]
    losses = []
    for rank in range(size):
        parts, state = begun(World(rank, size, shards=4), 500.0)
        restore_shards(parts, state, saved)
        losses += [totals(shard)[0] for shard in state.sums.shards]
    assert losses == [0, 1, 2, 3]


def test_snapshot_has_the_shards_of_all_ranks(on_ranks: Callable[..., list[Any]], tiny: Callable[..., Config]) -> None:
    def save(world: World) -> tuple[list[float], list[int]]:
        parts, state = assemble(tiny("trainer.shards=4"), world, None)
        for index, shard in enumerate(world.own_shards):
            world.current = index
            state.sums.update(torch.tensor(float(shard)), 1, torch.zeros(1, 10), torch.zeros(1, dtype=torch.long))
        shards = take(parts, state, {})["shards"]
        return [shard["sums"]["waiting"][0].item() for shard in shards], [len(shard["rng"]) for shard in shards]

    for losses, states in on_ranks(save):
        assert losses == [0, 1, 2, 3]
        assert len(set(states)) == 1


@pytest.mark.parametrize("wrong", ["weights", "optimizer", "buffers"])
def test_different_weights_are_not_saved(
    on_ranks: Callable[..., list[Any]], tiny: Callable[..., Config], wrong: str
) -> None:
    def save(world: World) -> str:
        parts, state = assemble(tiny("optim=adam", "model.norm=batch"), world, None)
        for parameter in parts.model.parameters():
            parameter.grad = torch.ones_like(parameter)
        parts.optimizer.step()
        take(parts, state, {})
        first = next(parts.model.parameters())
        tensors = {"weights": first, "optimizer": parts.optimizer.state[first]["exp_avg"]}
        tensors["buffers"] = next(parts.model.buffers())  # may differ within an epoch
        if world.rank == 1:
            tensors[wrong].data.view(-1)[3] += 1e-6
        try:
            take(parts, state, {})
        except RunnerError as error:
            return str(error).splitlines()[0]
        return "saved"

    message = "step 0: the weights or the optimizer state of rank 1 (process 1 on here) differ from those of rank 0"
    assert on_ranks(save) == [f"{message}; not saved" if wrong != "buffers" else "saved"] * 2


def test_checkpoint_has_exactly_the_keys_of_snapshot(runner: Callable[..., Path]) -> None:
    folder = runner("trainer.epochs=1", "trainer.ema=0.9")
    assert load_checkpoint(folder / "checkpoints" / "last.pt").keys() == Snapshot.__annotations__.keys()


def test_changes_are_the_steps_after_which_a_run_continued_with_other_values(tiny: Callable[..., Config]) -> None:
    config = tiny()
    same = {"config": config.model_dump(), "step": 30}
    assert changes([10, 30, 40], cast(Snapshot, same), config) == [10]  # what followed is trained again
    assert changes([10], cast(Snapshot, same), tiny("trainer.epochs=9")) == [10, 30]
    assert changes([10], cast(Snapshot, same), tiny("name=other", "dataset.workers=2")) == [10]
    assert changes([10], None, tiny("trainer.epochs=9")) == []


def test_hash_covers_every_sample_of_every_split_in_memory(tiny: Callable[..., Config]) -> None:
    found = set()
    for split in (None, "train", "val", "test"):
        parts = build(tiny())
        if split is not None:
            getattr(parts, split).source.inputs[-1] += 1
        found.add(parts.samples_hash)
    assert len(found) == 4
    assert build(tiny("dataset.in_memory=false")).samples_hash is None
