import pytest
import torch
from torch import nn

from runner.registry import LOSSES


def test_is_torch_class() -> None:
    assert LOSSES.get("huber").component is nn.HuberLoss
    assert LOSSES.get("huber").traits.targets == "values"
    assert list(LOSSES.parameters("huber")) == ["reduction", "delta"]


@pytest.mark.parametrize(("reduction", "value"), [("mean", 1.0), ("sum", 2.0)])
def test_quadratic_below_delta_and_linear_above(reduction: str, value: float) -> None:
    loss = LOSSES.build("huber", {"reduction": reduction, "delta": 1.0}, class_counts=torch.zeros(0))
    assert loss(torch.tensor([[1.0, 2.0]]), torch.zeros(1, 2)) == value  # 1^2 / 2 and 2 - 1 / 2
