from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD

from helpers import learning_rates
from runner.registry import SCHEDULERS


def rates(name: str, values: dict[str, Any], steps: int) -> list[float]:
    """Return the learning rate of each step and after the last one, starting from 0.1."""
    optimizer = SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    scheduler = SCHEDULERS.build(name, values, optimizer=optimizer, total_steps=steps, last_epoch=-1)
    return learning_rates(optimizer, scheduler, steps)


def test_constant_keeps_the_learning_rate() -> None:
    assert rates("constant", {"factor": 1.0, "total_iters": 0}, 20) == [0.1] * 21


@pytest.mark.parametrize("eta_min", [0.0, 0.02])
@pytest.mark.parametrize("steps", [1, 7, 100])
def test_cosine_reaches_eta_min_after_the_last_step(steps: int, eta_min: float) -> None:
    found = rates("cosine", {"eta_min": eta_min}, steps)
    assert found[0] == 0.1
    assert found[-1] == pytest.approx(eta_min, abs=1e-12)
    assert found == sorted(found, reverse=True)


def test_cosine_is_at_half_the_learning_rate_after_half_the_steps() -> None:
    assert rates("cosine", {"eta_min": 0.0}, 10)[5] == pytest.approx(0.05)


def test_total_steps_is_not_a_config_key() -> None:
    assert list(SCHEDULERS.parameters("cosine")) == ["eta_min"]
    assert list(SCHEDULERS.parameters("constant")) == ["factor", "total_iters"]
