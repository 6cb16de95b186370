import pytest
import torch
from torch import nn

from runner.registry import LOSSES


def test_is_torch_class() -> None:
    assert LOSSES.get("l1").component is nn.L1Loss
    assert LOSSES.get("l1").traits.targets == "values"
    assert list(LOSSES.parameters("l1")) == ["reduction"]


@pytest.mark.parametrize(("reduction", "value"), [("mean", 1.5), ("sum", 6.0)])
def test_reduces_absolute_errors(reduction: str, value: float) -> None:
    loss = LOSSES.build("l1", {"reduction": reduction}, class_counts=torch.zeros(0))
    assert loss(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [1.0, 2.0]])) == value
