import pytest
import torch

from runner.model.single_conv import SingleConv
from runner.registry import MODELS


def test_kernel_is_the_only_parameter() -> None:
    model: SingleConv = MODELS.build("single_conv", {"kernel_size": 3}, in_shape=(1, 8, 9), out_features=42)
    assert {name: tuple(parameter.shape) for name, parameter in model.named_parameters()} == {
        "conv.weight": (1, 1, 3, 3)
    }


def test_returns_filtered_image_flattened_by_row() -> None:
    model = SingleConv((1, 4, 5), 6)
    with torch.no_grad():
        model.conv.weight.copy_(torch.tensor([1.0, 0.0, -1.0]).expand(1, 1, 3, 3))
    picture = torch.tensor([[1.0, 2, 4, 8, 16], [0, 1, 0, 1, 0], [3, 3, 3, 3, 3], [5, 4, 3, 2, 1]])
    # The column sums over three rows are 4 6 7 12 19 and 8 8 6 6 4; subtract the sum two columns to the right.
    assert model(picture.expand(2, 1, 4, 5)).tolist() == [[-3, -6, -12, 2, 2, 2]] * 2


def test_sums_over_channels() -> None:
    model, pictures = SingleConv((3, 6, 6), 4, kernel_size=5), torch.rand(2, 3, 6, 6)
    windows = pictures.unfold(2, 5, 1).unfold(3, 5, 1)
    expected = torch.einsum("bcxyij,cij->bxy", windows, model.conv.weight[0])
    torch.testing.assert_close(model(pictures), expected.flatten(1))


def test_wrong_number_of_targets_raises() -> None:
    problem = "kernel_size 3 turns images of 32x32 into 30x30 = 900 pixels, but each target has 10 values"
    with pytest.raises(ValueError, match=problem):
        SingleConv((1, 32, 32), 10)


@pytest.mark.parametrize("kernel_size", [0, 5])
def test_invalid_kernel_size_raises(kernel_size: int) -> None:
    with pytest.raises(ValueError, match=f"kernel_size must be from 1 to 4, found {kernel_size}"):
        SingleConv((1, 4, 6), 4, kernel_size=kernel_size)


def test_input_that_is_not_an_image_raises() -> None:
    with pytest.raises(ValueError, match=r"needs images of shape \(C, H, W\), found \(64,\)"):
        SingleConv((64,), 36)
