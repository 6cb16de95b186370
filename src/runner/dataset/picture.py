"""Read PNG, JPEG and WebP files, for training and for predictions."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from runner.dataset.frame import Frame
from runner.dataset.listing import Listing, names_below
from runner.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
# Only these formats, because for others Pillow may run another program, such as Ghostscript for EPS.
FORMATS = ("PNG", "JPEG", "WEBP")


@dataclass(frozen=True)
class Pictures:
    """Image files as inputs: `pictures[i]` reads a uint8 image [C, H, W] of the size of the frame."""

    files: Listing
    frame: Frame
    draws: ClassVar[bool] = False  # reading an image draws no random numbers

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        return read_picture(self.files[index], self.frame)


def picture_files(folder: Path) -> list[Path]:
    """Return the PNG, JPEG and WebP files at any depth below a folder, sorted."""
    return [folder / name for name in names_below(folder, SUFFIXES)]


def read_picture(path: str | Path, frame: Frame) -> Tensor:
    """Read a PNG, JPEG or WebP file of any size and color mode, and turn it as its EXIF orientation says.

    Args:
        path: file to read.
        frame: channels and size of the result, and what becomes of the rest of the picture.

    Returns:
        A uint8 image [C, H, W].

    Raises:
        DataError: the file is damaged, animated, too large or has another format; the message names it.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # twice as many pixels are an error
            opened = Image.open(path, formats=FORMATS)
        with opened as image:
            frames = getattr(image, "n_frames", 1) if image.format in ("PNG", "WEBP") else 1  # in a JPEG: a preview
            if frames > 1:
                raise ValueError(f"it is animated, with {frames} frames; expected one")
            if frame.fit == "crop":  # decode a large JPEG at a half, a quarter or an eighth of its size
                side = 2 * (frame.shorter_side or max(frame.height, frame.width))
                image.draft(None, (side, side))
            turned = ImageOps.exif_transpose(image) if "exif" in image.info else image
            pixels = np.asarray(_in_mode(turned, "RGB" if frame.channels == 3 else "L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as an image: {error}") from error
    shape = (*pixels.shape[:2], frame.channels)
    return frame(torch.from_numpy(np.array(pixels.reshape(shape).transpose(2, 0, 1), order="C")))


def _in_mode(image: "Image", mode: str) -> "Image":
    """Return a picture in the mode RGB or L; the full range of 16 bits becomes that of 8."""
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits per pixel, which Pillow's conversion would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # or else Pillow warns
    return image if image.mode == mode else image.convert(mode)
