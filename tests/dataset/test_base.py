from dataclasses import FrozenInstanceError

import pytest
import torch
import torch.nn.functional as F

from runner.dataset.base import Spec, resize

IMAGES = torch.randint(0, 256, (5, 3, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("size", [8, 32, 64])
def test_resize_matches_torch(size: int) -> None:
    scaled = F.interpolate(IMAGES.float(), size=(size, size), mode="bilinear", antialias=True)
    found = resize(IMAGES, size)
    assert (found.dtype, found.shape) == (torch.uint8, (5, 3, size, size))
    assert (found.float() - scaled).abs().max() <= 0.501


def test_resize_keeps_images_of_the_right_size() -> None:
    assert resize(IMAGES, 28) is IMAGES


def test_resize_returns_square_images() -> None:
    assert resize(IMAGES[..., :14], 28).shape == (5, 3, 28, 28)


def test_resize_keeps_black_and_white() -> None:
    for value in (0, 255):
        assert (resize(torch.full((1, 1, 9, 9), value, dtype=torch.uint8), 20) == value).all()


def test_resize_in_chunks_gives_equal_images() -> None:
    many = torch.arange(5000).remainder(256).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    found = resize(many, 3)
    assert found.shape == (5000, 1, 3, 3)
    assert torch.equal(found[:, 0, 0, 0], many[:, 0, 0, 0])


def test_spec_is_immutable() -> None:
    with pytest.raises(FrozenInstanceError):
        Spec("classification", (1,), 2).out_features = 3  # type: ignore[misc]
