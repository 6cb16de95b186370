"""Random changes of training pictures, made on whole batches on the device."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

DRAWS = 10  # random numbers for each picture, drawn whatever is in use: no change depends on another's presence
SMALLEST, LARGEST = 0.02, 0.4  # share of a picture that is erased
FLATTEST = 0.3  # height by width of what is erased; its inverse is the steepest


@dataclass(frozen=True)
class Augment:
    """Moves, mirrors and covers pictures; the class of a picture stays the same.

    Args:
        shift: pixels that a picture moves at most, up or down and sideways; its edge fills what it leaves.
        crop: pixels of zeros added on each side before a part of the old size is cut out (He et al. 2016,
            "Deep Residual Learning for Image Recognition", section 4.2).
        flip: mirrors every other picture, left to right (He et al. 2016).
        erase: share of the pictures in which a rectangle is set to zero (Zhong et al. 2020, "Random Erasing Data
            Augmentation", with the mean as filling and the sizes of its section 4).

    Shapes:
        images [B, C, H, W], normalised, so that zero is the mean of all pictures; the same comes out.
    """

    shift: int = 0
    crop: int = 0
    flip: bool = False
    erase: float = 0.0

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """Changes a batch. The generator is of the CPU, so that every device sees the same changes."""
        draws = torch.rand(len(images), DRAWS, generator=generator).to(images.device, non_blocking=True)
        up, left, top, start, mirror, *erase = draws[:, :, None].unbind(1)  # each [B, 1]
        height, width = images.shape[-2:]

        # Where each row and column of the new pictures lies in the old ones: from the last change to the first.
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
        """A mask [B, 1, H, W] that leaves out a rectangle in the pictures that have one."""
        chosen, size, shape, top, left = draws
        area = height * width * (SMALLEST + (LARGEST - SMALLEST) * size)
        ratio = FLATTEST ** (1 - 2 * shape)  # evenly on a logarithmic scale: as often flat as steep
        high, wide = (area * ratio).sqrt().round().clamp(1, height), (area / ratio).sqrt().round().clamp(1, width)
        top, left = (top * (height - high + 1)).floor(), (left * (width - wide + 1)).floor()
        rows = _between(torch.arange(height, device=chosen.device), top, top + high)
        columns = _between(torch.arange(width, device=chosen.device), left, left + wide)
        return ~((chosen < self.erase)[:, :, None, None] & rows[:, None, :, None] & columns[:, None, None, :])


def _offset(draw: Tensor, most: int) -> Tensor:
    """Numbers of [0, 1) as whole numbers from -most to most, each as likely."""
    return (draw * (2 * most + 1)).floor().long().clamp(max=2 * most) - most  # 1 - 2**-24 may be rounded up


def _between(values: Tensor, low: Tensor | int, high: Tensor | int) -> Tensor:
    return (values >= low) & (values < high)
