import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from runner.dataset.picture import read_picture
from runner.errors import DataError


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_images_of_any_size_and_color_mode_are_read(tmp_path: Path, mode: str) -> None:
    grey = Image.linear_gradient("L")  # 256x256, black above, white below
    if mode == "I;16":
        rows = torch.arange(256).repeat_interleave(256).view(256, 256) * 257
        picture = Image.fromarray(rows.numpy().astype("uint16"))
    else:
        picture = grey.convert(mode)
    path = tmp_path / ("picture.jpg" if mode == "CMYK" else "picture.png")
    picture.resize((60, 40)).save(path)
    pixels = read_picture(path, (1, 8, 8))
    assert pixels.shape == (1, 8, 8)
    assert pixels.dtype == torch.uint8
    assert pixels[0, 0].float().mean() < 60
    assert pixels[0, 7].float().mean() > 190
    assert read_picture(path, (3, 8, 9)).shape == (3, 8, 9)


@pytest.mark.parametrize("kind", ["EPS", "TIFF", "GIF"])
def test_other_formats_are_not_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "picture.png"
    Image.new("L", (8, 8)).save(path, format=kind)
    with pytest.raises(DataError, match=f"{re.escape(str(path))}: cannot be read as an image"):
        read_picture(path, (1, 8, 8))


def test_damaged_png_is_reported_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "noise.png"
    Image.effect_noise((400, 400), 90).save(path)
    first, second, *rest = path.read_bytes().split(b"IDAT")
    path.write_bytes(b"IDAT".join([first, second]) + b"\0DAT" + b"IDAT".join(rest))  # Pillow raises a SyntaxError
    with pytest.raises(DataError, match=f"{re.escape(str(path))}: cannot be read as an image"):
        read_picture(path, (1, 64, 64))
