from typing import Any

import pytest
import torch
from torch import nn

from runner.optim.gradient_descent import GradientDescent


def test_equals_torch_sgd_bitwise_over_100_steps() -> None:
    torch.manual_seed(0)
    images, targets = torch.rand(32, 64), torch.randint(10, (32,))
    ours = nn.Sequential(nn.Linear(64, 20), nn.Sigmoid(), nn.Linear(20, 10))
    torchs = nn.Sequential(nn.Linear(64, 20), nn.Sigmoid(), nn.Linear(20, 10))
    torchs.load_state_dict(ours.state_dict())
    before = [parameter.clone() for parameter in ours.parameters()]
    rules = {ours: GradientDescent(ours.parameters(), lr=0.1), torchs: torch.optim.SGD(torchs.parameters(), lr=0.1)}
    for _ in range(100):
        for model, optimizer in rules.items():
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), targets).backward()
            optimizer.step()
    for mine, theirs, start in zip(ours.parameters(), torchs.parameters(), before, strict=True):
        assert torch.equal(mine, theirs)
        assert not torch.equal(mine, start)


def test_step_subtracts_lr_times_gradient() -> None:
    weight, without = nn.Parameter(torch.tensor([1.0])), nn.Parameter(torch.tensor([2.0]))
    weight.grad = torch.tensor([4.0])
    assert GradientDescent([weight, without], lr=0.25).step() is None
    assert (weight.item(), without.item()) == (0.0, 2.0)


def test_step_evaluates_closure() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    optimizer = GradientDescent([weight], lr=0.25)

    def closure() -> float:
        loss = (weight * weight).sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 1.0
    assert weight.item() == 0.5


def test_parameter_groups_have_separate_learning_rates() -> None:
    first, second = (nn.Parameter(torch.ones(1)) for _ in range(2))
    groups: list[dict[str, Any]] = [{"params": [first], "lr": 0.5}, {"params": [second]}]
    optimizer = GradientDescent(groups, lr=0.25)
    first.grad = second.grad = torch.ones(1)
    optimizer.step()
    assert (first.item(), second.item()) == (0.5, 0.75)


def test_negative_lr_raises() -> None:
    with pytest.raises(ValueError, match="lr must be at least 0, found -1"):
        GradientDescent([nn.Parameter(torch.ones(1))], lr=-1)
