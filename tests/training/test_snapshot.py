from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from runner.config.schema import Config
from runner.machine.distributed import World
from runner.training.build import build
from runner.training.checkpoint import Snapshot, load_checkpoint, save_checkpoint
from runner.training.parts import Parts
from runner.training.resume import starting_state
from runner.training.snapshot import restore_process
from runner.training.state import TrainState


@pytest.fixture
def begun(tiny: Callable[..., Config]) -> Callable[[World, float], tuple[Parts, TrainState]]:
    """Return a function that starts a run on one rank, where it has seen one sample with the given loss."""

    def make(world: World, loss: float) -> tuple[Parts, TrainState]:
        parts = build(tiny(), world)
        state = starting_state(parts)
        state.step = 7
        state.sums.update(torch.tensor(loss), torch.zeros(1, 10), torch.zeros(1, dtype=torch.long))
        state.merge_recent()
        return parts, state

    return make


def saved_by(*processes: tuple[Parts, TrainState]) -> Any:
    """Return the snapshot that rank 0 saves for these processes."""
    first, *others = [{**state.state_dict(), "rng": {"of": parts.world.rank}} for parts, state in processes]
    return {**first, "others": others}


@pytest.mark.parametrize("size", [1, 2, 3])
def test_sums_of_two_ranks_are_counted_once_for_any_new_world_size(
    begun: Callable[..., tuple[Parts, TrainState]], monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    restored: list[object] = []
    monkeypatch.setattr("runner.training.snapshot.restore_rng_state", lambda rng, device: restored.append(rng["of"]))
    saved = saved_by(begun(World(0, 2), 1.0), begun(World(1, 2), 10.0))
    losses, random = [], []
    for rank in range(size):
        parts, state = begun(World(rank, size), 500.0)
        restore_process(parts, state, saved)
        state.sums._settle()
        losses.append(state.sums.sums[0].item())
        random.append(torch.initial_seed())
        assert state.step == 7
    if size == 2:
        assert losses == [1, 10]
        assert restored == [0, 1]
    else:
        assert losses == [11, *[0] * (size - 1)]
        assert restored == [0]
    assert len(set(random)) == size


def test_checkpoint_without_other_ranks_is_restored(
    begun: Callable[..., tuple[Parts, TrainState]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.training.snapshot.restore_rng_state", lambda rng, device: None)
    saved = saved_by(begun(World(), 1.0))
    del saved["others"]
    save_checkpoint(tmp_path / "old.pt", saved)
    parts, state = begun(World(), 500.0)
    restore_process(parts, state, load_checkpoint(tmp_path / "old.pt"))
    assert state.sums.compute()["loss"] == 1


def test_checkpoint_has_exactly_the_keys_of_snapshot(runner: Callable[..., Path]) -> None:
    folder = runner("trainer.epochs=1", "trainer.ema=0.9")
    assert load_checkpoint(folder / "checkpoints" / "last.pt").keys() == Snapshot.__annotations__.keys()
