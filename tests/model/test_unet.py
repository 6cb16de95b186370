import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from runner.model.unet import UNet
from runner.registry import MODELS


def trained_norms(model: UNet) -> UNet:
    """Return the model for evaluation, with random statistics in the batch normalizations, and few inactive ReLUs."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.bias, 0.2, 0.5)
    return model.eval()


@pytest.mark.parametrize("channels", [(4,), (4, 6), (4, 6, 8), (2, 3, 4, 5)])
@pytest.mark.parametrize("in_shape", [(3, 64, 64), (1, 8, 24)])
def test_outputs_have_the_size_of_the_images(in_shape: tuple[int, ...], channels: tuple[int, ...]) -> None:
    assert UNet(in_shape, 5, channels)(torch.rand(2, *in_shape)).shape == (2, 5, *in_shape[1:])


def test_parameter_shapes() -> None:
    model = UNet((1, 8, 8), 3, (4, 6))
    assert [tuple(parameter.shape) for parameter in model.parameters() if parameter.ndim > 1] == [
        (4, 1, 3, 3), (4, 4, 3, 3),
        (6, 4, 3, 3), (6, 6, 3, 3),
        (6, 4, 2, 2),
        (4, 8, 3, 3), (4, 4, 3, 3),
        (3, 4, 1, 1),
    ]  # fmt: skip


def test_forward_matches_functional_implementation() -> None:
    torch.manual_seed(0)
    model = trained_norms(UNet((2, 8, 12), 3, (4, 5, 6)))
    values = model.state_dict()

    def convolutions(x: Tensor, name: str) -> Tensor:
        for index in (0, 3):
            x = F.conv2d(x, values[f"{name}.{index}.weight"], padding=1)
            norm = [values[f"{name}.{index + 1}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
            x = F.batch_norm(x, *norm).relu()
        return x

    def up(x: Tensor, index: int) -> Tensor:
        return F.conv_transpose2d(x, values[f"upsample.{index}.weight"], values[f"upsample.{index}.bias"], stride=2)

    images = torch.rand(3, 2, 8, 12)
    full = convolutions(images, "encoder.0")
    half = convolutions(F.max_pool2d(full, 2), "encoder.1")
    quarter = convolutions(F.max_pool2d(half, 2), "encoder.2")
    half = convolutions(torch.cat([half, up(quarter, 0)], dim=1), "decoder.0")
    full = convolutions(torch.cat([full, up(half, 1)], dim=1), "decoder.1")
    torch.testing.assert_close(model(images), F.conv2d(full, values["head.weight"], values["head.bias"]))


@pytest.mark.parametrize(("height", "width"), [(66, 64), (64, 2), (7, 7)])
def test_size_that_is_not_divisible_raises(height: int, width: int) -> None:
    problem = f"3 levels need images whose height and width are divisible by 4, found {height}x{width}"
    with pytest.raises(ValueError, match=problem):
        UNet((3, height, width), 4)


def test_one_level_accepts_any_size() -> None:
    assert UNet((3, 7, 5), 4, (8,))(torch.rand(2, 3, 7, 5)).shape == (2, 4, 7, 5)


@pytest.mark.parametrize("channels", [(), (8, 0), (-1,)])
def test_invalid_channels_raise(channels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="channels must be one or more numbers of at least 1, found "):
        UNet((3, 64, 64), 4, channels)


def test_input_that_is_not_an_image_raises() -> None:
    with pytest.raises(ValueError, match=r"needs images of shape \(C, H, W\), found \(64,\)"):
        UNet((64,), 4)


def test_builds_from_registry_on_the_meta_device() -> None:
    with torch.device("meta"):
        model = MODELS.build("unet", {"channels": [4, 8]}, in_shape=(3, 16, 16), out_features=4)
        assert isinstance(model, UNet)
        assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 4, 16, 16)
