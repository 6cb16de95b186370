from typing import Any

import pytest
import torch
import torch.nn.functional as F

from runner.dataset.digits import Digits
from runner.model.autoencoder import Autoencoder
from runner.registry import MODELS


@pytest.mark.parametrize("in_shape", [(1, 32, 32), (3, 8, 20), (1, 4, 4)])
def test_outputs_have_the_shape_of_the_images(in_shape: tuple[int, ...]) -> None:
    model, images = Autoencoder(in_shape), torch.rand(5, *in_shape)
    assert model(images).shape == images.shape
    assert model.encoder(images).shape == (5, 16)


def test_parameter_shapes() -> None:
    model = Autoencoder((1, 8, 12), channels=(4, 6), latent=5)
    assert [tuple(parameter.shape) for parameter in model.parameters() if parameter.ndim > 1] == [
        (4, 1, 3, 3), (6, 4, 3, 3), (5, 36),
        (36, 5), (6, 4, 4, 4), (4, 1, 4, 4),
    ]  # fmt: skip


def test_forward_matches_functional_implementation() -> None:
    model, images = Autoencoder((2, 8, 12), channels=(4, 6), latent=5), torch.rand(3, 2, 8, 12)
    w1, b1, w2, b2, w3, b3, w4, b4, w5, b5, w6, b6 = model.parameters()
    x = F.conv2d(images, w1, b1, stride=2, padding=1).relu()
    x = F.conv2d(x, w2, b2, stride=2, padding=1).relu()
    code = x.flatten(1) @ w3.T + b3
    x = (code @ w4.T + b4).relu().view(3, 6, 2, 3)
    x = F.conv_transpose2d(x, w5, b5, stride=2, padding=1).relu()
    torch.testing.assert_close(model(images), F.conv_transpose2d(x, w6, b6, stride=2, padding=1))


def test_outputs_are_not_limited_to_positive_values() -> None:
    torch.manual_seed(0)
    assert Autoencoder((1, 8, 8))(torch.randn(20, 1, 8, 8)).min() < 0


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"in_shape": (64,)}, r"needs images of shape \(C, H, W\), found \(64,\)"),
        ({"in_shape": (1, 30, 32)}, "2 convolutions need images whose .* are divisible by 4, found 30x32"),
        ({"in_shape": (1, 32, 2)}, "2 convolutions need images whose .* are divisible by 4, found 32x2"),
        ({"channels": (4, 4, 4), "in_shape": (1, 12, 12)}, "3 convolutions .* divisible by 8, found 12x12"),
        ({"channels": ()}, r"must be at least 1, found channels=\[\], latent=16"),
        ({"channels": (4, 0)}, r"must be at least 1, found channels=\[4, 0\], latent=16"),
        ({"latent": 0}, r"must be at least 1, found channels=\[16, 32\], latent=0"),
    ],
)
def test_invalid_arguments_raise(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Autoencoder(**{"in_shape": (1, 32, 32), **values})


def test_builds_from_registry_on_the_meta_device() -> None:
    with torch.device("meta"):
        model = MODELS.build("autoencoder", {"latent": 3}, in_shape=(1, 16, 16), out_features=10)
        assert isinstance(model, Autoencoder)
        assert model(torch.zeros(2, 1, 16, 16)).shape == (2, 1, 16, 16)


def test_learns_to_reconstruct_digits() -> None:
    torch.manual_seed(0)
    spec, images = Digits(8).spec, Digits(8).load().samples.inputs
    images = (images[:320] / 255 - spec.mean[0]) / spec.std[0]
    model = Autoencoder((1, 8, 8), channels=(8, 16))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(60):
        for batch in images[:256].split(32):
            optimizer.zero_grad()
            F.mse_loss(model(batch), batch).backward()
            optimizer.step()
    with torch.inference_mode():
        error = F.mse_loss(model(images[256:]), images[256:])
    assert error < 0.3 * images[256:].var()
