import re
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from runner.dataset.frame import Frame
from runner.dataset.picture import read_picture
from runner.errors import DataError


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_images_of_any_size_and_color_mode_are_read(tmp_path: Path, mode: str) -> None:
    grey = Image.linear_gradient("L")  # 256x256, black above, white below
    if mode == "I;16":
        rows = torch.arange(256).repeat_interleave(256).view(256, 256) * 257
        picture = Image.fromarray(rows.numpy().astype("uint16"))
    else:
        picture = grey.convert(mode)
    path = tmp_path / ("picture.jpg" if mode == "CMYK" else "picture.png")
    picture.resize((60, 40)).save(path)
    pixels = read_picture(path, Frame(1, 8, 8))
    assert pixels.shape == (1, 8, 8)
    assert pixels.dtype == torch.uint8
    assert pixels[0, 0].float().mean() < 60
    assert pixels[0, 7].float().mean() > 190
    assert read_picture(path, Frame(3, 8, 9)).shape == (3, 8, 9)


def test_16_bits_are_scaled_from_their_full_range(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(np.array([[0, 255, 256, 0x8123, 0xFFFF]], dtype=np.uint16)).save(path)
    for channels in (1, 3):
        assert read_picture(path, Frame(channels, 1, 5)).tolist() == [[[0, 0, 1, 0x81, 255]]] * channels


def test_palette_with_transparent_colors_keeps_its_colors(tmp_path: Path) -> None:
    path = tmp_path / "palette.png"
    picture = Image.new("P", (2, 2), 1)
    picture.putpalette([0, 0, 0, 10, 20, 30])
    picture.save(path, transparency=bytes([0, 128]))
    assert read_picture(path, Frame(3, 2, 2))[:, 0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
def test_picture_is_turned_as_its_exif_orientation_says(
    tmp_path: Path, kind: str, fit: Literal["crop", "stretch"]
) -> None:
    path, upright = tmp_path / f"turned.{kind}", Image.linear_gradient("L").convert("RGB")  # black above
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    upright.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    pixels = read_picture(path, Frame(1, 8, 8, fit))[0].float()
    assert pixels[0].mean() < 60
    assert pixels[7].mean() > 190


def test_webp_is_read(tmp_path: Path) -> None:
    path = tmp_path / "picture.webp"
    Image.new("RGBA", (4, 4), (200, 100, 50, 255)).save(path, lossless=True)
    assert read_picture(path, Frame(3, 4, 4))[:, 0, 0].tolist() == [200, 100, 50]


def test_large_jpeg_is_decoded_at_a_fraction_of_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.jpg"
    Image.linear_gradient("L").resize((900, 600)).save(path)
    rows = read_picture(path, Frame(1, 32, 32, "crop"))[0].float().mean(1)
    assert (rows.diff() > 5).all()
    assert abs(float(rows.mean()) - 127.5) < 3
    monkeypatch.setattr(Frame, "__call__", lambda frame, pixels: pixels)
    assert read_picture(path, Frame(1, 32, 32, "crop")).shape == (1, 75, 113)
    assert read_picture(path, Frame(1, 200, 200, "crop")).shape == (1, 600, 900)
    assert read_picture(path, Frame(1, 32, 32, "stretch")).shape == (1, 600, 900)


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_animated_picture_is_reported_with_its_path(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"moving.{kind}"
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=f"{re.escape(str(path))}: .* it is animated, with 2 frames; expected one"):
        read_picture(path, Frame(3, 8, 8))


def test_jpeg_with_a_second_picture_is_read(tmp_path: Path) -> None:
    path = tmp_path / "phone.jpg"  # as some phones write, with a depth map or a preview
    Image.new("RGB", (8, 8), "red").save(path, "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8), "blue")])
    red, green, blue = read_picture(path, Frame(3, 8, 8, "crop"))[:, 0, 0].tolist()
    assert red > 200 > 50 > max(green, blue)


@pytest.mark.parametrize("factor", [1, 3])
def test_picture_with_too_many_pixels_is_reported_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: int
) -> None:
    path = tmp_path / "huge.png"
    Image.new("L", (100, 10 * factor)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)  # Pillow warns from here on; twice as many are an error
    if factor == 1:
        assert read_picture(path, Frame(1, 8, 8)).shape == (1, 8, 8)
        return
    with pytest.raises(DataError, match=rf"{re.escape(str(path))}: .*3000 pixels\) exceeds limit of 1800 pixels"):
        read_picture(path, Frame(1, 8, 8))


@pytest.mark.parametrize("kind", ["EPS", "TIFF", "GIF"])
def test_other_formats_are_not_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "picture.png"
    Image.new("L", (8, 8)).save(path, format=kind)
    with pytest.raises(DataError, match=f"{re.escape(str(path))}: cannot be read as an image"):
        read_picture(path, Frame(1, 8, 8))


def test_damaged_png_is_reported_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "noise.png"
    Image.effect_noise((400, 400), 90).save(path)
    first, second, *rest = path.read_bytes().split(b"IDAT")
    path.write_bytes(b"IDAT".join([first, second]) + b"\0DAT" + b"IDAT".join(rest))  # Pillow raises a SyntaxError
    with pytest.raises(DataError, match=f"{re.escape(str(path))}: cannot be read as an image"):
        read_picture(path, Frame(1, 64, 64))
