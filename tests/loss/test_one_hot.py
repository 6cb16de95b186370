import pytest
import torch
from torch import nn

from runner.loss.one_hot import OneHot

OUTPUTS = torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.0, 0.0]])


def test_encodes_class_indices() -> None:
    assert OneHot(nn.MSELoss(reduction="none"), 3)(OUTPUTS, torch.tensor([1, 2])).tolist() == [
        [0.0, 0.0, 0.0],
        [0.25, 0.0, 1.0],
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_targets_have_dtype_of_outputs(dtype: torch.dtype) -> None:
    assert OneHot(nn.MSELoss(), 3)(OUTPUTS.to(dtype), torch.tensor([1, 2])).dtype == dtype


def test_reduction_is_that_of_the_wrapped_loss() -> None:
    assert OneHot(nn.MSELoss(reduction="sum"), 3).reduction == "sum"
    assert OneHot(nn.Identity(), 3).reduction == "mean"


def test_class_index_out_of_range_raises() -> None:
    with pytest.raises(RuntimeError, match="Class values must be smaller than num_classes"):
        OneHot(nn.MSELoss(), 3)(OUTPUTS, torch.tensor([1, 3]))
