import time
from collections.abc import Iterator

import pytest
import torch

from helpers import metric_set_of, totals
from runner.machine.distributed import World
from runner.training.state import Best, Clock, TrainState


def updates(best: Best, *values: float) -> list[bool]:
    return [best.update({best.metric: value}, epoch, epoch * 10) for epoch, value in enumerate(values, start=1)]


def test_best_keeps_the_minimum_or_maximum() -> None:
    assert updates(Best("loss", "min"), 3, 2, 2, 4, 1) == [True, True, False, False, True]
    best = Best("accuracy", "max")
    assert updates(best, 0.0, 0.5, 0.4) == [True, True, False]
    assert (best.value, best.epoch, best.step, best.stale) == (0.5, 2, 20, 1)


def test_improvement_below_min_delta_does_not_count() -> None:
    assert updates(Best("loss", "min", min_delta=0.5), 3, 2.6, 2.4) == [True, False, True]


def test_non_finite_value_is_never_best() -> None:
    assert updates(Best("loss", "min"), float("nan"), 5, float("nan")) == [False, True, False]


def test_state_dict_round_trip_keeps_the_metrics_of_the_config() -> None:
    def start(metric: str) -> TrainState:
        return TrainState.start(
            metric_set_of("classification"), torch.device("cpu"), Best(metric, "min"), Best("val/loss", "min")
        )

    state = start("val/loss")
    state.step, state.val = 7, {"loss": 0.5}
    state.best.update({"val/loss": 0.5}, 1, 7)
    state.window.update(torch.tensor(2.0), 1, torch.ones(1, 2), torch.tensor([0]))
    restored, other = start("val/loss"), start("train/loss")
    restored.load_state_dict(state.state_dict())
    restored.load_shard_states(state.shard_states())
    assert (restored.step, restored.val, restored.best.value) == (7, {"loss": 0.5}, 0.5)
    assert restored.window.compute() == state.window.compute() == {"loss": 2.0, "accuracy": 1.0}
    other.load_state_dict(state.state_dict())
    assert (other.step, other.best.metric, other.best.value) == (7, "train/loss", None)


def sharded_state(world: World, *losses: float) -> TrainState:
    """Return a state whose shards have one sample each, with the given losses; no losses: no samples."""
    best = Best("val/loss", "min")
    state = TrainState.start(metric_set_of("classification"), torch.device("cpu"), best, best, world)
    for world.current, loss in enumerate(losses):
        state.record(torch.tensor(loss), 1, torch.ones(1, 2), torch.tensor([world.current % 2]))
    world.current = 0
    return state


def test_each_shard_keeps_its_own_metrics() -> None:
    state = sharded_state(World(shards=4), 1.0, 2.0, 4.0, 8.0)
    assert [totals(shard)[0] for shard in state.recent.shards] == [1, 2, 4, 8]
    state.merge_recent()
    assert state.recent.compute() == {}
    assert state.window.compute() == state.sums.compute() == {"loss": 3.75, "accuracy": 0.5}
    saved = state.shard_states()
    assert [list(shard) for shard in saved] == [["recent", "window", "sums"]] * 4
    restored = sharded_state(World(shards=4))
    restored.load_shard_states(saved)
    assert [totals(shard)[0] for shard in restored.sums.shards] == [1, 2, 4, 8]


def test_metrics_of_another_number_of_shards_are_merged_into_the_first() -> None:
    saved = sharded_state(World(shards=4), 1.0, 2.0, 4.0, 8.0).shard_states()
    merged = sharded_state(World(shards=2), 100.0, 200.0)
    merged.merge_shard_states(saved)
    assert [totals(shard) for shard in merged.recent.shards] == [[15, 4, 2, 4], [0, 0, 0, 0]]


def test_clock_measures_the_time_spent_waiting_for_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def spend(seconds: float) -> None:
        nonlocal now
        now += seconds

    def slow() -> Iterator[int]:
        for number in range(3):
            spend(2)
            yield number

    monkeypatch.setattr(time, "perf_counter", lambda: now)

    state = TrainState.start(
        metric_set_of("classification"), torch.device("cpu"), Best("val/loss", "min"), Best("val/loss", "min")
    )
    for _ in Clock().waiting(state, slow()):
        spend(50)  # the time of a step, which is not waiting
    assert state.data_seconds == 6
