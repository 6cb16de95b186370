import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from runner.dataset.frame import Frame, resize
from runner.vision import torchvision

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


def waves(height: int, width: int) -> Tensor:
    """Return a smooth picture, uint8 [3, height, width]."""
    rows, columns = torch.linspace(0, 3, height)[:, None], torch.linspace(0, 5, width)
    return ((rows.sin() + columns.cos() + 2) * 60).to(torch.uint8).expand(3, -1, -1).contiguous()


@pytest.mark.parametrize("sides", [(300, 200), (120, 333), (64, 64), (70, 131)])
@pytest.mark.parametrize("shorter_side", [None, 64, 80])
def test_crop_keeps_the_proportions_as_resize_and_center_crop_do(
    sides: tuple[int, int], shorter_side: int | None
) -> None:
    picture = waves(*sides)
    found = Frame(3, 64, 64, "crop", shorter_side)(picture)
    resized = torchvision.transforms.functional.resize(picture, shorter_side or 64, antialias=True)
    expected = torchvision.transforms.functional.center_crop(resized, 64)
    assert (found.dtype, found.shape) == (torch.uint8, (3, 64, 64))
    assert (found.int() - expected.int()).abs().max() <= 6  # a pixel of the picture beside it


def test_crop_of_another_shape_keeps_the_proportions() -> None:
    picture = torch.zeros(1, 40, 90, dtype=torch.uint8)
    picture[:, :, 35:55] = 255  # a stripe that is half as wide as the picture is high
    assert Frame(1, 20, 40, "crop")(picture)[0].gt(127).sum(1).tolist() == [10] * 20


def test_stretch_keeps_the_whole_picture() -> None:
    picture = torch.zeros(1, 10, 40, dtype=torch.uint8)
    picture[..., 20:] = 255
    assert torch.equal(Frame(1, 10, 10, "stretch")(picture)[0, 0] > 127, torch.arange(10) >= 5)
    assert torch.equal(Frame(1, 10, 10, "crop")(picture)[0, 0] > 127, torch.arange(10) >= 5)
    assert Frame(1, 10, 10, "stretch")(picture)[0, 0, 3] == 0


def test_very_long_picture_is_cropped_before_it_is_resized() -> None:
    assert Frame(3, 64, 64, "crop")(torch.ones(3, 1, 50_000, dtype=torch.uint8)).unique().tolist() == [1]
