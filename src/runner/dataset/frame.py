"""The size of images, and how pictures of other sizes become images of this size."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Frame:
    """How a picture of any size becomes an image of one size.

    Args:
        channels: 3 for color, 1 for gray.
        height: height of the image, in pixels.
        width: width of the image, in pixels.
        fit: "crop": the center of the picture, in its own proportions; "stretch": the whole picture, whatever its
            proportions.
        shorter_side: for fit="crop": pixels to which the shorter side is resized before the center is cropped. None:
            as much of the picture as possible.
    """

    channels: int
    height: int
    width: int
    fit: Literal["crop", "stretch"] = "stretch"
    shorter_side: int | None = None

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return an image, uint8 [C, H, W], of the size of the frame."""
        high, wide = pixels.shape[-2:]
        if (high, wide) == (self.height, self.width) and self.shorter_side is None:
            return pixels
        if self.fit == "crop":  # before resizing, so that only what is kept is resized
            most = min(high / self.height, wide / self.width)
            scale = most if self.shorter_side is None else min(high, wide) / self.shorter_side
            pixels = pixels[:, _center(high, self.height * scale), _center(wide, self.width * scale)]
        return resize(pixels[None], (self.height, self.width))[0]


def _center(length: int, kept: float) -> slice:
    """Return the middle of an axis, at least one pixel."""
    size = min(length, max(1, round(kept)))
    return slice((length - size) // 2, (length - size) // 2 + size)


def resize(images: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Resize uint8 images [N, C, H, W] by bilinear interpolation with antialiasing.

    Args:
        images: the images.
        size: height and width of the result, or one number for both.
    """
    wanted = (size, size) if isinstance(size, int) else size
    if images.shape[-2:] == wanted:
        return images
    scaled = [
        F.interpolate(chunk.float(), size=wanted, mode="bilinear", antialias=True).round().clamp(0, 255)
        for chunk in images.split(4096)  # in chunks, because floats need four times the memory
    ]
    return torch.cat([chunk.to(torch.uint8) for chunk in scaled])
