"""Grids of test images with what a model makes of them: masks, reconstructions, labels."""

from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib import colormaps
from torch import Tensor

from runner.tracking.mosaic import draw_grid, with_legend
from runner.tracking.plots import COMPRESSION, stretch


def plot_masks(images: Tensor, true: Tensor, found: Tensor, classes: Sequence[str], target: Path) -> None:
    """Plot images beside their true and their predicted masks.

    Args:
        images: images [M, C, H, W] with 1 or 3 channels, in any range.
        true: class indices [M, H, W]; others, such as ignored ones, are black.
        found: predicted class indices [M, H, W].
        classes: class names.
        target: PNG file to write.
    """
    pictures = stretch(images.float(), dims=(1, 2, 3)).expand(-1, 3, -1, -1)
    masks = [colored(mask, len(classes)) for mask in (true, found)]
    grid = torch.stack([pictures, *masks], dim=1).flatten(0, 1)
    captions = ["image", "true", "predicted"] * len(images)
    sheet = draw_grid(grid, 3, "Test images, true and predicted masks", captions)
    with_legend(sheet, classes, palette(len(classes))).save(target, compress_level=COMPRESSION)


def plot_reconstructions(images: Tensor, reconstructions: Tensor, target: Path) -> None:
    """Plot images [M, C, H, W] in the first row and their reconstructions [M, C, H, W] in the second."""
    low, high = images.amin(), images.amax()
    both = ((torch.cat([images, reconstructions]) - low) / (high - low).clamp(min=1e-9)).clamp(0, 1)
    title = "Test images (top) and their reconstructions (bottom)"
    draw_grid(both.expand(-1, 3, -1, -1), len(images), title).save(target, compress_level=COMPRESSION)


def names_of(labels: Tensor, classes: Sequence[str]) -> list[str]:
    """Return the class names that apply to each sample, for labels [M, K] of 0 and 1."""
    rows = labels.bool().tolist()
    return [" ".join(name for name, applies in zip(classes, row, strict=True) if applies) or "none" for row in rows]


def colored(mask: Tensor, classes: int) -> Tensor:
    """Return class indices [M, H, W] as colors [M, 3, H, W]."""
    known = (mask >= 0) & (mask < classes)
    return (palette(classes)[mask.clamp(0, classes - 1)] * known[..., None]).movedim(-1, 1)


def palette(classes: int) -> Tensor:
    """Return the color [3] of each class."""
    return torch.from_numpy(colormaps["viridis"](torch.linspace(0, 1, classes).numpy())[:, :3]).float()
