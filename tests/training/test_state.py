import time
from collections.abc import Iterator

import torch

from runner.training.state import Best, Clock, TrainState


def looks(best: Best, *values: float) -> list[bool]:
    return [best.look({best.metric: value}, epoch, epoch * 10) for epoch, value in enumerate(values, start=1)]


def test_best_keeps_the_minimum_or_maximum() -> None:
    assert looks(Best("loss", "min"), 3, 2, 2, 4, 1) == [True, True, False, False, True]
    best = Best("accuracy", "max")
    assert looks(best, 0.0, 0.5, 0.4) == [True, True, False]
    assert (best.value, best.epoch, best.step, best.stale) == (0.5, 2, 20, 1)


def test_improvement_below_min_delta_does_not_count() -> None:
    assert looks(Best("loss", "min", min_delta=0.5), 3, 2.6, 2.4) == [True, False, True]


def test_non_finite_value_is_never_best() -> None:
    assert looks(Best("loss", "min"), float("nan"), 5, float("nan")) == [False, True, False]


def test_state_dict_round_trip_keeps_the_metrics_of_the_config() -> None:
    def start(metric: str) -> TrainState:
        return TrainState.start("classification", torch.device("cpu"), Best(metric, "min"), Best("val/loss", "min"))

    state = start("val/loss")
    state.step, state.val = 7, {"loss": 0.5}
    state.best.look({"val/loss": 0.5}, 1, 7)
    state.window.update(torch.tensor(2.0), torch.ones(1, 2), torch.tensor([0]))
    restored, other = start("val/loss"), start("train/loss")
    restored.load_state_dict(state.state_dict())
    assert (restored.step, restored.val, restored.best.value) == (7, {"loss": 0.5}, 0.5)
    assert restored.window.compute() == state.window.compute()
    other.load_state_dict(state.state_dict())
    assert (other.step, other.best.metric, other.best.value) == (7, "train/loss", None)


def test_clock_measures_the_time_spent_waiting_for_batches() -> None:
    def slow() -> Iterator[int]:
        for number in range(3):
            time.sleep(0.02)
            yield number

    state = TrainState.start("classification", torch.device("cpu"), Best("val/loss", "min"), Best("val/loss", "min"))
    for _ in Clock().waiting(state, slow()):
        time.sleep(0.05)  # the time of a step, which is not waiting
    assert 0.06 <= state.data_seconds < 0.15
