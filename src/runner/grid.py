"""Many small pictures as one: a grid with a title and a caption over each."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

GAP, TITLE, LINE = 8, 40, 20  # pixels: between pictures, and for the lines of text


def save_grid(
    pictures: Tensor, columns: int, title: str, target: Path, captions: Sequence[str] = (), side: int = 140
) -> None:
    """Writes the grid as a PNG.

    Args:
        pictures: [N, 3, H, W] between 0 and 1, row by row.
        captions: [N], or none.
        side: pixels of the longer side of each picture in the grid.
    """
    rows = max(1, -(-len(pictures) // columns))
    scale = side / max(pictures.shape[-2:])
    height, width = (max(1, round(scale * size)) for size in pictures.shape[-2:])
    captions = [" ".join(caption.split()) for caption in captions]
    line = LINE if captions else 0
    cell = max([side, *(round(font(11).getlength(caption)) for caption in captions)])
    wide = max(GAP + columns * (cell + GAP), round(font(15).getlength(title)) + 2 * GAP)
    sheet = Image.new("RGB", (wide, TITLE + rows * (line + height + GAP)), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((sheet.width / 2, TITLE / 2), title, "black", font(15), anchor="mm")
    smooth = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    for number, values in enumerate((255 * pictures).byte().permute(0, 2, 3, 1).numpy()):
        row, column = divmod(number, columns)
        left, top = GAP + column * (cell + GAP), TITLE + row * (line + height + GAP) + line
        sheet.paste(Image.fromarray(values).resize((width, height), smooth), (left + (cell - width) // 2, top))
        if captions:
            pen.text((left + cell / 2, top - LINE / 2), captions[number], "black", font(11), anchor="mm")
    sheet.save(target, compress_level=1)  # level 6 takes three times as long


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The one of the other plots."""
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), size)
