"""Random augmentation of whole batches of training images, on the device."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from runner.machine import seeds

DRAWS = 10  # random numbers per image; all are always drawn, so that enabling one transform does not change another
SMALLEST, LARGEST = 0.02, 0.4  # range of the erased area, as a fraction of the image
FLATTEST = 0.3  # smallest aspect ratio (height / width) of the erased area; the largest is its inverse


@dataclass(frozen=True)
class Augment:
    """Random shift, crop, horizontal flip and erasing.

    Args:
        shift: largest translation in each direction, in pixels; border pixels are repeated.
        crop: padding on each side before a random crop of the original size, in pixels.
        flip: whether to flip each image horizontally with probability 0.5; "alternating": as `mirrored` says.
        erase: probability of setting a random rectangle of an image to zero, the mean of normalized images.
        pad: padding of the crop: "zero", or "reflect" for the image mirrored at its border pixels.

    Shapes:
        Input: normalized images [B, C, H, W].
        Output: [B, C, H, W].

    Source:
        Crop and flip: He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2.
        Alternating flip: Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", section 3.6.
        Erasing: Zhong et al. 2020, "Random Erasing Data Augmentation", section 4, filled with the mean.
    """

    shift: int = 0
    crop: int = 0
    flip: bool | Literal["alternating"] = False
    erase: float = 0.0
    pad: Literal["zero", "reflect"] = "zero"

    def draw(self, shape: Sequence[int], generator: Generator, mirrored: Tensor | None = None) -> Tensor:
        """Return what to do with each image of a batch, as `apply` takes it.

        It is computed on the CPU and copied at once, because each operation is a launch on a GPU.

        Args:
            shape: shape of the batch, [B, C, H, W].
            generator: CPU generator, so that the result is the same on every device.
            mirrored: bool [B], True for the images to flip if `flip` is "alternating"; else ignored.

        Returns:
            int64 [B, N * (H + W)], N pairs of a value for each row and one for each column. The first pair is where a
            pixel comes from, row * W and column. The others are masks, 1 where row and column are both 1: of the pixels
            to keep after a crop with zero padding, and last, of those to erase. Each is there only if it is needed.

        Raises:
            ValueError: `flip` is "alternating" and `mirrored` is None.
            ValueError: `pad` is "reflect" and `crop` is not smaller than the sides of the images.
        """
        count, _, height, width = shape
        if self.pad == "reflect" and self.crop >= min(height, width):
            raise ValueError(
                f"crop: found {self.crop} with images of {height}x{width}; "
                f"allowed with pad=reflect: at most {min(height, width) - 1}, less than the shorter side"
            )
        draws = torch.rand(count, DRAWS, generator=generator)
        up, left, top, start, mirror, *erase = draws[:, :, None].unbind(1)  # each [B, 1]
        across = torch.arange(width).expand(count, -1)
        if self.flip:
            across = torch.where(self._mirrored(mirror, mirrored), width - 1 - across, across)
        rows, seen_rows = self._sources(torch.arange(height).expand(count, -1), top, up)
        columns, seen_columns = self._sources(across, start, left)
        pairs = [(rows * width, columns)]
        if self.crop and self.pad == "zero":
            pairs.append((seen_rows, seen_columns))
        if self.erase:
            pairs.append(self._erased(height, width, *erase))
        return torch.cat([part.long() for pair in pairs for part in pair], dim=1)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Pick the source pixels of a batch of images, and set those outside the masks to zero.

        Args:
            images: normalized images [B, C, H, W].
            drawn: result of `draw`, on their device.
        """
        height, width = images.shape[-2:]
        parts = drawn.split([height, width] * (drawn.shape[1] // (height + width)), dim=1)
        (sources, *masks) = [parts[n][:, None, :, None] for n in range(0, len(parts), 2)]
        (columns, *others) = [parts[n][:, None, None, :] for n in range(1, len(parts), 2)]
        index = (sources + columns).flatten(2).expand(-1, images.shape[1], -1)
        pixels, shape = images.flatten(2), images.shape
        if images.is_contiguous():
            images = pixels.gather(2, index).view(shape)
        else:  # `gather` returns the default memory format: in the channels-last format, take whole pixels
            images = pixels.mT.gather(1, index.mT).mT.unflatten(2, shape[2:])
        crossings = [rows.to(images.dtype) * columns for rows, columns in zip(masks, others, strict=True)]
        if self.erase:  # the last masks are of the pixels to erase, the others of those to keep
            crossings[-1] = 1 - crossings[-1]
        for mask in crossings:
            images = images * mask
        return images

    def _sources(self, positions: Tensor, crop: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        """Return the source row of each row, or column of each column, and whether it is inside the image.

        The transforms are inverted, from the last to the first.

        Args:
            positions: rows or columns, flipped or not.
            crop: random numbers for the position of the crop.
            shift: random numbers for the shift.

        Shapes:
            positions: (batch, size)
            crop, shift: (batch, 1)
        """
        size = positions.shape[1]
        positions = positions + _offset(crop, self.crop)
        if self.pad == "reflect":
            positions = _reflected(positions, size)
        moved = (positions.clamp(0, size - 1) + _offset(shift, self.shift)).clamp(0, size - 1)
        return moved, _between(positions, 0, size)

    def _mirrored(self, draw: Tensor, mirrored: Tensor | None) -> Tensor:
        """Return a mask [B, 1] that is True for the images to flip."""
        if self.flip != "alternating":
            return draw < 0.5
        if mirrored is None:
            raise ValueError('flip="alternating" needs `mirrored`, a bool for each image; found None')
        return mirrored[:, None]

    def _erased(self, height: int, width: int, *draws: Tensor) -> tuple[Tensor, Tensor]:
        """Return masks of the rows [B, H] and columns [B, W] that cross in the erased rectangle of each image."""
        chosen, size, shape, top, left = draws
        area = height * width * (SMALLEST + (LARGEST - SMALLEST) * size)
        ratio = FLATTEST ** (1 - 2 * shape)  # log-uniform, so that wide and tall rectangles are equally likely
        high, wide = (area * ratio).sqrt().round().clamp(1, height), (area / ratio).sqrt().round().clamp(1, width)
        top, left = (top * (height - high + 1)).floor(), (left * (width - wide + 1)).floor()
        rows = _between(torch.arange(height), top, top + high) & (chosen < self.erase)
        return rows, _between(torch.arange(width), left, left + wide)


def alternating(samples: int, seed: int, number: int) -> Tensor:
    """Return which samples an alternating flip mirrors in a pass over the split.

    A sample is mirrored in pass 0 with probability 0.5, and from then on in every other pass.

    Args:
        samples: number of samples of the split, N.
        seed: seed of the run.
        number: number of earlier passes since the start of training.

    Returns:
        Bool [N], in the order of the split.
    """
    first = torch.rand(samples, generator=seeds.generator(seed, "flip")) < 0.5
    return first if number % 2 == 0 else ~first


def _offset(draw: Tensor, most: int) -> Tensor:
    """Map uniform numbers in [0, 1) to uniform integers in [-most, most]."""
    return (draw * (2 * most + 1)).floor().long().clamp(max=2 * most) - most  # the product may round up


def _reflected(values: Tensor, size: int) -> Tensor:
    """Map the indices of an axis and of its padding, at most size - 1 on each side, to the mirrored pixels."""
    return size - 1 - (size - 1 - values.abs()).abs()


def _between(values: Tensor, low: Tensor | int, high: Tensor | int) -> Tensor:
    return (values >= low) & (values < high)
