from typing import Any

import pytest
import torch
import torch.nn.functional as F

from runner.model.lenet import LeNet
from runner.registry import MODELS


@pytest.mark.parametrize(("kernel_size", "flat"), [(3, 576), (5, 400)])
def test_parameter_shapes(kernel_size: int, flat: int) -> None:
    model = LeNet((1, 32, 32), 10, kernel_size=kernel_size)
    assert [tuple(parameter.shape) for parameter in model.parameters()] == [
        (6, 1, kernel_size, kernel_size), (6,),
        (16, 6, kernel_size, kernel_size), (16,),
        (120, flat), (120,),
        (84, 120), (84,),
        (10, 84), (10,),
    ]  # fmt: skip


@pytest.mark.parametrize("in_shape", [(1, 28, 28), (3, 32, 32), (2, 64, 40)])
def test_accepts_any_image_size_and_channels(in_shape: tuple[int, ...]) -> None:
    assert LeNet(in_shape, 7)(torch.rand(64, *in_shape)).shape == (64, 7)


def test_channels_and_hidden_set_the_widths() -> None:
    model = LeNet((1, 32, 32), 10, channels=(2, 3), hidden=(5, 4))
    widths = [parameter.shape[0] for parameter in model.parameters() if parameter.ndim > 1]
    assert widths == [2, 3, 5, 4, 10]


def test_forward_matches_functional_implementation() -> None:
    model = LeNet((1, 32, 32), 10)
    w1, b1, w2, b2, w3, b3, w4, b4, w5, b5 = model.parameters()
    images = torch.rand(4, 1, 32, 32)
    x = F.max_pool2d(F.conv2d(images, w1, b1).clamp(min=0), 2)
    x = F.max_pool2d(F.conv2d(x, w2, b2).clamp(min=0), 2)
    x = (x.reshape(4, -1) @ w3.T + b3).clamp(min=0)
    x = (x @ w4.T + b4).clamp(min=0)
    torch.testing.assert_close(model(images), x @ w5.T + b5)


@pytest.mark.parametrize(("side", "kernel_size"), [(8, 5), (4, 5), (15, 5), (9, 3), (1, 1)])
def test_too_small_image_raises(side: int, kernel_size: int) -> None:
    with pytest.raises(ValueError, match=f"kernel_size {kernel_size} needs images of at least .*, found {side}x{side}"):
        LeNet((1, side, side), 10, kernel_size=kernel_size)


@pytest.mark.parametrize(("side", "kernel_size"), [(16, 5), (10, 3), (4, 1)])
def test_accepts_smallest_image(side: int, kernel_size: int) -> None:
    model = LeNet((1, side, side), 10, kernel_size=kernel_size)
    assert model(torch.rand(2, 1, side, side)).shape == (2, 10)


@pytest.mark.parametrize("values", [{"kernel_size": 0}, {"channels": (6, 0)}, {"hidden": (-1, 84)}])
def test_values_below_one_raise(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="kernel_size, channels and hidden must be at least 1, found kernel_size="):
        LeNet((1, 32, 32), 10, **values)


def test_input_that_is_not_an_image_raises() -> None:
    with pytest.raises(ValueError, match=r"needs images of shape \(C, H, W\), found \(64,\)"):
        LeNet((64,), 10)


def test_builds_from_registry() -> None:
    model = MODELS.build("lenet", {"kernel_size": 3}, in_shape=(1, 32, 32), out_features=10)
    assert isinstance(model, LeNet)
    assert model.conv1.kernel_size == (3, 3)
