from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from runner.model.cnn import CNN
from runner.registry import MODELS


def kinds(layers: nn.Sequential) -> list[str]:
    return [type(layer).__name__ for layer in layers]


def test_forward_matches_functional_implementation() -> None:
    model = CNN((3, 12, 8), 5, channels=[4, 6], hidden=[7])
    w1, b1, w2, b2, w3, b3, w4, b4 = model.parameters()
    images = torch.rand(2, 3, 12, 8)
    x = F.max_pool2d(F.conv2d(images, w1, b1, padding=1).clamp(min=0), 2)
    x = F.max_pool2d(F.conv2d(x, w2, b2, padding=1).clamp(min=0), 2)
    x = (x.reshape(2, 6 * 3 * 2) @ w3.T + b3).clamp(min=0)
    torch.testing.assert_close(model(images), x @ w4.T + b4)


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("pool", [1, 2, 3])
@pytest.mark.parametrize("in_shape", [(1, 9, 9), (3, 13, 10)])
def test_infers_linear_input_size(in_shape: tuple[int, ...], pool: int, kernel_size: int) -> None:
    model = CNN(in_shape, 7, channels=[2, 3], hidden=[], kernel_size=kernel_size, pool=pool)
    assert model(torch.rand(2, *in_shape)).shape == (2, 7)


def test_order_of_normalization_activation_and_dropout() -> None:
    values = {"channels": [4], "hidden": [5], "norm": "batch", "activation": "tanh", "dropout": 0.5}
    model: CNN = MODELS.build("cnn", values, in_shape=(1, 8, 8), out_features=3)
    assert kinds(model.blocks) == ["Conv2d", "BatchNorm2d", "Tanh", "MaxPool2d"]
    assert kinds(model.layers) == ["Flatten", "Dropout", "Linear", "Tanh", "Dropout", "Linear"]
    assert {layer.p for layer in model.layers if isinstance(layer, nn.Dropout)} == {0.5}


def test_model_without_blocks_and_hidden_layers_is_linear() -> None:
    assert sum(parameter.numel() for parameter in CNN((1, 8, 8), 3, channels=[], hidden=[]).parameters()) == 65 * 3


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"channels": [4, 0]}, "channels must be at least 1, found 0"),
        ({"hidden": [-1]}, "hidden must be at least 1, found -1"),
        ({"kernel_size": 0}, "kernel_size must be at least 1, found 0"),
        ({"pool": 0}, "pool must be at least 1, found 0"),
        ({"channels": [4] * 4}, "4 blocks with pool=2 reduce images of 8x8 to nothing"),
        ({"dropout": 1.5}, "dropout probability has to be between 0 and 1"),
        ({"in_shape": (64,)}, r"needs images of shape \(C, H, W\), found \(64,\)"),
    ],
)
def test_invalid_arguments_raise(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        CNN(**{"in_shape": (1, 8, 8), "out_features": 3, "channels": [4], "hidden": [5], **values})
