"""Images of circles, squares and triangles."""

import torch
import torch.nn.functional as F
from torch import Tensor

from runner.dataset.base import Pool, Samples, Spec
from runner.registry import DATASETS

CLASSES = ("background", "circle", "square", "triangle")
MOST = 4  # largest number of shapes in an image
SMALLEST, LARGEST = 0.12, 0.25  # range of the radii, relative to the size of the image


@DATASETS.register("shapes")
class Shapes:
    """Images of one to four circles, squares and triangles on a noisy background; the targets are their masks.

    A shape covers those that were drawn before it.

    Args:
        images: number of images.
        size: height and width of an image, in pixels.
        draw: seed of the images.

    Raises:
        ValueError: `images` is below 1, or `size` is below 16.
    """

    def __init__(self, images: int = 600, size: int = 64, draw: int = 0) -> None:
        if images < 1:
            raise ValueError(f"images must be at least 1, found {images}")
        if size < 16:
            raise ValueError(f"size must be at least 16, found {size}")
        self.images, self.size, self.draw = images, size, draw
        self.spec = Spec(
            task="segmentation",
            in_shape=(3, size, size),
            out_features=len(CLASSES),
            classes=CLASSES,
            mean=(0.346,),  # of all channels, which have the same distribution
            std=(0.231,),
        )

    def load(self) -> Pool:
        """Return uint8 images [N, 3, size, size] and masks [N, size, size] of class indices, int64."""
        generator = torch.Generator().manual_seed(self.draw)
        images = backgrounds(self.images, self.size, generator)
        masks = torch.zeros(self.images, self.size, self.size, dtype=torch.long)
        shapes = torch.randint(1, MOST + 1, (self.images, 1, 1), generator=generator)
        for index in range(MOST):
            kind = torch.randint(1, len(CLASSES), (self.images, 1, 1), generator=generator)
            color = torch.randint(110, 256, (self.images, 3, 1, 1), generator=generator, dtype=torch.uint8)
            covered = silhouettes(kind, self.size, generator) & (index < shapes)
            images = torch.where(covered[:, None], color, images)
            masks = torch.where(covered, kind, masks)
        return Pool(Samples(images, masks))


def backgrounds(images: int, size: int, generator: torch.Generator) -> Tensor:
    """Return a random color for each image, with large spots and with noise: uint8 [images, 3, size, size]."""
    color = 20 + 90 * torch.rand(images, 3, 1, 1, generator=generator)
    spots = 25 * torch.randn(images, 1, 5, 5, generator=generator)
    noise = 12 * torch.randn(images, 3, size, size, generator=generator)
    spots = F.interpolate(spots, size=(size, size), mode="bilinear", align_corners=True)
    return noise.add_(spots).add_(color).clamp_(0, 255).to(torch.uint8)


def silhouettes(kind: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Return which pixels shapes of random size and position cover.

    Args:
        kind: class index of each shape [N, 1, 1].
        size: height and width of an image, in pixels.
        generator: source of the random numbers.

    Returns:
        Bool [N, size, size].
    """
    low, span = SMALLEST * size, (LARGEST - SMALLEST) * size
    radius, top, left = torch.rand(3, len(kind), 1, 1, generator=generator)
    radius = low + span * radius
    room = size - 2 * radius  # the shape lies completely within the image
    y = torch.arange(size)[:, None] + 0.5 - radius - room * top  # relative to the center, in pixels
    x = torch.arange(size) + 0.5 - radius - room * left
    circle = x.square() + y.square() <= radius.square()
    square = (x.abs() <= 0.85 * radius) & (y.abs() <= 0.85 * radius)  # nearly the area of the circle
    triangle = (2 * x.abs() <= y + radius) & (y <= radius)
    return torch.where(kind == 1, circle, torch.where(kind == 2, square, triangle))
