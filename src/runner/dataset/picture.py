"""PNG and JPEG files as inputs: the one reader of them, for training and for predictions."""

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
    """Read a PNG or JPEG file of any size and mode as bytes [C, H, W].

    Args:
        path: the file.
        in_shape: channels (1 or 3), height and width of the result.

    Raises:
        DataError: the file is not such a picture, or is damaged; the message names it.
    """
    from PIL import Image

    channels, height, width = in_shape
    try:
        # Only these two: for other formats Pillow may start another program, as Ghostscript for an EPS file.
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            deep = image.mode.startswith("I")  # 16 bits a pixel, which PIL would cut off at 255
            eight = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)) if deep else image
            mode = "RGB" if channels == 3 else "L"
            pixels = np.asarray(eight if eight.mode == mode else eight.convert(mode))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as a picture: {error}") from error
    picture = torch.from_numpy(np.array(pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1), order="C"))
    return picture if picture.shape[-2:] == (height, width) else resize(picture[None], (height, width))[0]
