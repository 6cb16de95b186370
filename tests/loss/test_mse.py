import pytest
import torch
from torch import nn

from runner.registry import LOSSES


def test_is_torch_class() -> None:
    assert LOSSES.get("mse").component is nn.MSELoss
    assert LOSSES.get("mse").traits.targets == "values"


def test_deprecated_parameters_are_hidden() -> None:
    assert list(LOSSES.parameters("mse")) == ["reduction"]


@pytest.mark.parametrize(("reduction", "value"), [("mean", 2.5), ("sum", 10.0)])
def test_reduces_squared_errors(reduction: str, value: float) -> None:
    loss = LOSSES.build("mse", {"reduction": reduction}, class_counts=torch.zeros(0))
    assert loss(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [1.0, 2.0]])) == value
