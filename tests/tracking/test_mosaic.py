from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from runner.tracking.mosaic import GAP, LINE, TITLE, save_grid

COLOURS = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])


def grid(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_images_are_placed_row_by_row_with_their_aspect_ratio(tmp_path: Path) -> None:
    pictures = COLOURS[:, :, None, None].expand(3, 3, 4, 8)
    save_grid(pictures, columns=2, title="", target=tmp_path / "grid.png", side=16)
    sheet = grid(tmp_path / "grid.png")
    assert sheet.shape == (TITLE + 2 * (8 + GAP), GAP + 2 * (16 + GAP), 3)
    for row, column, colour in (0, 0, COLOURS[0]), (0, 1, COLOURS[1]), (1, 0, COLOURS[2]), (1, 1, torch.ones(3)):
        top, left = TITLE + row * (8 + GAP), GAP + column * (16 + GAP)
        assert (sheet[top : top + 8, left : left + 16] == (255 * colour).byte().numpy()).all()


@pytest.mark.parametrize("size", [2, 500])
def test_images_are_scaled_to_the_given_side(tmp_path: Path, size: int) -> None:
    save_grid(torch.zeros(1, 3, size, size), 1, "", tmp_path / "grid.png", side=20)
    assert (grid(tmp_path / "grid.png") == 0).all(axis=2).sum() == 20 * 20


def test_caption_widens_the_cell(tmp_path: Path) -> None:
    save_grid(torch.zeros(1, 3, 20, 20), 1, "", tmp_path / "grid.png", ["a caption that is wider"], side=20)
    sheet = grid(tmp_path / "grid.png")
    assert sheet.shape[1] > 100
    assert (sheet[TITLE : TITLE + LINE, : GAP - 2] == 255).all()
    assert (sheet[TITLE : TITLE + LINE] < 128).any()


def test_grid_without_images_has_a_title(tmp_path: Path) -> None:
    save_grid(torch.zeros(0, 3, 20, 20), 5, "nothing is wrong", tmp_path / "grid.png")
    assert (grid(tmp_path / "grid.png") < 128).any()


def test_long_title_widens_the_grid(tmp_path: Path) -> None:
    save_grid(
        torch.zeros(1, 3, 20, 20), 1, "a title that is much wider than one picture", tmp_path / "grid.png", side=20
    )
    assert grid(tmp_path / "grid.png").shape[1] > 250


def test_caption_line_breaks_become_spaces(tmp_path: Path) -> None:
    save_grid(torch.zeros(1, 3, 20, 20), 1, "", tmp_path / "grid.png", ["cat\nor dog"], side=20)
    save_grid(torch.zeros(1, 3, 20, 20), 1, "", tmp_path / "same.png", ["cat or dog"], side=20)
    assert (grid(tmp_path / "grid.png") == grid(tmp_path / "same.png")).all()
