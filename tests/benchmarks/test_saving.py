"""What a save costs the training: on LeNet with its optimizer's state, TensorBoard and all."""

import statistics
import time
from pathlib import Path

import pytest

from runner.build import build
from runner.checkpoint import Checkpoints
from runner.config import compose_config
from runner.results import Results
from runner.run import starting_state
from runner.state import Clock
from runner.tracking import Tracker
from runner.train import save


@pytest.mark.bench
def test_a_save_a_second_costs_under_two_percent(tmp_path: Path) -> None:
    exp = build(compose_config())
    for inputs, targets in exp.train.epoch():
        exp.loss(exp.model(inputs), targets).backward()
        exp.optimizer.step()
    state = starting_state(exp)
    tracker = Tracker(tmp_path, exp, Results.open(tmp_path, "bench", 0, []))
    (tmp_path / "checkpoints").mkdir()
    checkpoints, clock, seconds = Checkpoints(tmp_path / "checkpoints", keep_last=2), Clock(), []
    for step in range(1, 61):
        state.step = step
        tracker.scalars({"train/loss": 1.0}, step)
        began = time.perf_counter()
        save(exp, state, tracker, checkpoints, clock)
        seconds.append(time.perf_counter() - began)
    tracker.close()
    share = statistics.median(seconds)  # of each second, at one save a second
    print(f"\na save: median {1000 * share:.1f} ms, longest {1000 * max(seconds):.1f} ms: {share:.2%} at one a second")
    assert share < 0.02
