"""Random augmentation of whole batches of training images, on the device."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

DRAWS = 10  # random numbers per image; all are always drawn, so that enabling one transform does not change another
SMALLEST, LARGEST = 0.02, 0.4  # range of the erased area, as a fraction of the image
FLATTEST = 0.3  # smallest aspect ratio (height / width) of the erased area; the largest is its inverse


@dataclass(frozen=True)
class Augment:
    """Random shift, crop, horizontal flip and erasing.

    Args:
        shift: largest translation in each direction, in pixels; border pixels are repeated.
        crop: zero padding on each side before a random crop of the original size, in pixels.
        flip: whether to flip each image horizontally with probability 0.5.
        erase: probability of setting a random rectangle of an image to zero, the mean of normalized images.

    Shapes:
        Input: normalized images [B, C, H, W].
        Output: [B, C, H, W].

    Source:
        Crop and flip: He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2.
        Erasing: Zhong et al. 2020, "Random Erasing Data Augmentation", section 4, filled with the mean.
    """

    shift: int = 0
    crop: int = 0
    flip: bool = False
    erase: float = 0.0

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """Return the augmented batch.

        Args:
            images: normalized images [B, C, H, W].
            generator: CPU generator, so that the result is the same on every device.
        """
        draws = torch.rand(len(images), DRAWS, generator=generator).to(images.device, non_blocking=True)
        up, left, top, start, mirror, *erase = draws[:, :, None].unbind(1)  # each [B, 1]
        height, width = images.shape[-2:]

        # Source row and column of each output pixel: the transforms inverted, from the last to the first.
        rows = torch.arange(height, device=images.device).expand(len(images), -1)
        columns = torch.arange(width, device=images.device).expand(len(images), -1)
        if self.flip:
            columns = torch.where(mirror < 0.5, width - 1 - columns, columns)
        rows, columns = rows + _offset(top, self.crop), columns + _offset(start, self.crop)
        seen = _between(rows, 0, height)[:, None, :, None] & _between(columns, 0, width)[:, None, None, :]
        rows = (rows.clamp(0, height - 1) + _offset(up, self.shift)).clamp(0, height - 1)
        columns = (columns.clamp(0, width - 1) + _offset(left, self.shift)).clamp(0, width - 1)

        images = images.gather(2, rows[:, None, :, None].expand(images.shape))
        images = images.gather(3, columns[:, None, None, :].expand(images.shape))
        return images * (seen & self._kept(height, width, *erase))

    def _kept(self, height: int, width: int, *draws: Tensor) -> Tensor:
        """Return a mask [B, 1, H, W] that is False in the erased rectangles."""
        chosen, size, shape, top, left = draws
        area = height * width * (SMALLEST + (LARGEST - SMALLEST) * size)
        ratio = FLATTEST ** (1 - 2 * shape)  # log-uniform, so that wide and tall rectangles are equally likely
        high, wide = (area * ratio).sqrt().round().clamp(1, height), (area / ratio).sqrt().round().clamp(1, width)
        top, left = (top * (height - high + 1)).floor(), (left * (width - wide + 1)).floor()
        rows = _between(torch.arange(height, device=chosen.device), top, top + high)
        columns = _between(torch.arange(width, device=chosen.device), left, left + wide)
        return ~((chosen < self.erase)[:, :, None, None] & rows[:, None, :, None] & columns[:, None, None, :])


def _offset(draw: Tensor, most: int) -> Tensor:
    """Map uniform numbers in [0, 1) to uniform integers in [-most, most]."""
    return (draw * (2 * most + 1)).floor().long().clamp(max=2 * most) - most  # the product may round up


def _between(values: Tensor, low: Tensor | int, high: Tensor | int) -> Tensor:
    return (values >= low) & (values < high)
