import pytest
import torch
from torch import nn

from runner.loss.one_hot import OneHot

OUTPUTS = torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.0, 0.0]])


def test_the_class_is_one_and_the_others_are_zero() -> None:
    assert OneHot(nn.MSELoss(reduction="none"), 3)(OUTPUTS, torch.tensor([1, 2])).tolist() == [
        [0.0, 0.0, 0.0],
        [0.25, 0.0, 1.0],
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_values_have_the_type_of_the_outputs(dtype: torch.dtype) -> None:
    assert OneHot(nn.MSELoss(), 3)(OUTPUTS.to(dtype), torch.tensor([1, 2])).dtype == dtype


def test_it_reduces_as_the_loss_does() -> None:
    assert OneHot(nn.MSELoss(reduction="sum"), 3).reduction == "sum"
    assert OneHot(nn.Identity(), 3).reduction == "mean"


def test_a_class_number_that_is_too_large_is_refused() -> None:
    with pytest.raises(RuntimeError, match="Class values must be smaller than num_classes"):
        OneHot(nn.MSELoss(), 3)(OUTPUTS, torch.tensor([1, 3]))
