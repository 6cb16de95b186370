from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR

from helpers import learning_rates
from runner.scheduler.warmup_cosine import warmup_cosine


def rates(steps: int, lr: float = 1.0, **values: Any) -> list[float]:
    """Return the learning rate of each step and after the last one."""
    optimizer = SGD([nn.Parameter(torch.ones(1))], lr=lr)
    scheduler = warmup_cosine(optimizer, steps, **values)
    return learning_rates(optimizer, scheduler, steps)


def test_linear_warmup_is_followed_by_cosine_decay() -> None:
    found = rates(20, warmup=0.2)
    assert found[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert found[4:] == sorted(found[4:], reverse=True)
    assert found[12] == pytest.approx(0.5)
    assert found[20] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("eta_min", [0.0, 0.1])
def test_zero_warmup_equals_torch_cosine(eta_min: float) -> None:
    optimizer = SGD([nn.Parameter(torch.ones(1))], lr=0.5)
    cosine = CosineAnnealingLR(optimizer, 10, eta_min)
    torchs = []
    for _ in range(11):
        torchs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cosine.step()
    assert rates(10, lr=0.5, warmup=0.0, eta_min=eta_min) == pytest.approx(torchs)


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0.05), (1, 0.9), (2, 0.5), (3, 0.99)])
def test_short_run_reaches_eta_min(steps: int, warmup: float) -> None:
    found = rates(steps, warmup=warmup, eta_min=0.25)
    assert all(0 < rate <= 1 for rate in found[:-1])
    assert found[-1] == pytest.approx(0.25)


def test_every_group_reaches_eta_min() -> None:
    groups = [{"params": [nn.Parameter(torch.ones(1))], "lr": lr} for lr in (1.0, 0.5, 0.0)]
    optimizer = SGD(groups)
    scheduler = warmup_cosine(optimizer, 4, warmup=0.25, eta_min=0.125)
    starts = [group["lr"] for group in optimizer.param_groups]
    for _ in range(4):
        optimizer.step()
        scheduler.step()
    assert starts == [0.5, 0.25, 0.0]
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.125, 0.125, 0.0])


@pytest.mark.parametrize("warmup", [-0.1, 1.0, 5.0])
def test_warmup_out_of_range_raises(warmup: float) -> None:
    with pytest.raises(ValueError, match="warmup is a fraction of all steps"):
        rates(10, warmup=warmup)


def test_state_dict_holds_plain_types() -> None:
    scheduler = warmup_cosine(SGD([nn.Parameter(torch.ones(1))], lr=1.0), 10)
    assert all(
        value is None or isinstance(value, int | float | bool | list) for value in scheduler.state_dict().values()
    )
