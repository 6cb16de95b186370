"""Read PNG and JPEG files, for training and for predictions."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from runner.dataset.base import resize
from runner.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg"}


def picture_files(folder: Path) -> list[Path]:
    """Return the PNG and JPEG files at any depth below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def read_picture(path: Path, in_shape: tuple[int, int, int]) -> Tensor:
    """Read a PNG or JPEG file of any size and color mode.

    Args:
        path: file to read.
        in_shape: number of channels (1 or 3), height and width of the result.

    Returns:
        A uint8 image [C, H, W].

    Raises:
        DataError: the file is damaged or has another format; the message names it.
    """
    from PIL import Image

    channels, height, width = in_shape
    try:
        # Only these two formats, because for others Pillow may run another program, such as Ghostscript for EPS.
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            deep = image.mode.startswith("I")  # 16 bits per pixel, which Pillow's conversion would clip at 255
            eight = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)) if deep else image
            mode = "RGB" if channels == 3 else "L"
            pixels = np.asarray(eight if eight.mode == mode else eight.convert(mode))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as an image: {error}") from error
    picture = torch.from_numpy(np.array(pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1), order="C"))
    return picture if picture.shape[-2:] == (height, width) else resize(picture[None], (height, width))[0]
