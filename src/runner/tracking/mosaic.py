"""A grid of images with a title and captions, drawn with Pillow.

For the plots of a default run, matplotlib would take 1.6 s longer, and `torchvision.utils.make_grid` 0.3 s plus the
time to import torchvision.
"""

import math
from collections.abc import Sequence
from functools import cache

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

GAP, TITLE, LINE = 8, 40, 20  # pixels: gap between images, height of the title and of a caption


def draw_grid(pictures: Tensor, columns: int, title: str, captions: Sequence[str] = (), side: int = 140) -> Image.Image:
    """Return a grid of images.

    Args:
        pictures: images [N, 3, H, W] in [0, 1], placed row by row.
        columns: number of images per row.
        title: title above the grid.
        captions: one caption per image, or none.
        side: longer side of each image in the grid, in pixels.
    """
    columns = min(columns, max(1, len(pictures)))
    rows = max(1, math.ceil(len(pictures) / columns))
    scale = side / max(pictures.shape[-2:])
    height, width = (max(1, round(scale * size)) for size in pictures.shape[-2:])
    captions = [" ".join(caption.split()) for caption in captions]
    line = LINE if captions else 0
    cell = max([side, *(round(font(11).getlength(caption)) for caption in captions)])
    grid = columns * (cell + GAP) - GAP
    wide = 2 * GAP + max(grid, round(font(15).getlength(title)))
    sheet = Image.new("RGB", (wide, TITLE + rows * (line + height + GAP)), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((sheet.width / 2, TITLE / 2), title, "black", font(15), anchor="mm")
    resampling = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    for number, values in enumerate((255 * pictures).byte().permute(0, 2, 3, 1).numpy()):
        row, column = divmod(number, columns)
        left, top = (wide - grid) // 2 + column * (cell + GAP), TITLE + row * (line + height + GAP) + line
        sheet.paste(Image.fromarray(values).resize((width, height), resampling), (left + (cell - width) // 2, top))
        if captions:
            pen.text((left + cell / 2, top - LINE / 2), captions[number], "black", font(11), anchor="mm")
    return sheet


def with_legend(sheet: Image.Image, names: Sequence[str], colors: Tensor) -> Image.Image:
    """Return an image with a legend below it: a square in the color [K, 3] in [0, 1] of each name, and the name."""
    widths = [LINE + round(font(11).getlength(name)) + 2 * GAP for name in names]
    places, left, top = [], GAP, sheet.height
    for width in widths:
        if left > GAP and left + width > sheet.width:
            left, top = GAP, top + LINE
        places.append((left, top))
        left += width
    result = Image.new("RGB", (sheet.width, top + LINE + GAP), "white")
    result.paste(sheet)
    pen = ImageDraw.Draw(result)
    for name, color, (left, top) in zip(names, (255 * colors).byte().tolist(), places, strict=True):
        pen.rectangle((left, top + 4, left + 12, top + 16), tuple(color))
        pen.text((left + LINE, top + LINE / 2), name, "black", font(11), anchor="lm")
    return result


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return matplotlib's default font, as in the other figures."""
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), size)
