from typing import Any

import numpy as np
import pytest
import torch

from runner.tracking.mosaic import GAP, LINE, TITLE, draw_grid, with_legend

COLOURS = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])


def pixels(*arguments: Any, **keywords: Any) -> np.ndarray:
    return np.asarray(draw_grid(*arguments, **keywords))


def test_images_are_placed_row_by_row_with_their_aspect_ratio() -> None:
    sheet = pixels(COLOURS[:, :, None, None].expand(3, 3, 4, 8), columns=2, title="", side=16)
    assert sheet.shape == (TITLE + 2 * (8 + GAP), GAP + 2 * (16 + GAP), 3)
    for row, column, color in (0, 0, COLOURS[0]), (0, 1, COLOURS[1]), (1, 0, COLOURS[2]), (1, 1, torch.ones(3)):
        top, left = TITLE + row * (8 + GAP), GAP + column * (16 + GAP)
        assert (sheet[top : top + 8, left : left + 16] == (255 * color).byte().numpy()).all()


@pytest.mark.parametrize("size", [2, 500])
def test_images_are_scaled_to_the_given_side(size: int) -> None:
    assert (pixels(torch.zeros(1, 3, size, size), 1, "", side=20) == 0).all(axis=2).sum() == 20 * 20


def test_caption_widens_the_cell() -> None:
    sheet = pixels(torch.zeros(1, 3, 20, 20), 1, "", ["a caption that is wider"], side=20)
    assert sheet.shape[1] > 100
    assert (sheet[TITLE : TITLE + LINE, : GAP - 2] == 255).all()
    assert (sheet[TITLE : TITLE + LINE] < 128).any()


def test_grid_has_no_empty_columns_and_is_centered_below_a_long_title() -> None:
    assert pixels(torch.zeros(2, 3, 20, 20), 5, "", side=20).shape[1] == GAP + 2 * (20 + GAP)
    dark = (pixels(torch.zeros(1, 3, 20, 20), 1, "a title that is much wider", side=20)[TITLE + 1] == 0).all(axis=1)
    left, right = dark.argmax(), dark[::-1].argmax()
    assert abs(int(left) - int(right)) <= 1


def test_legend_has_the_color_of_each_name_and_wraps() -> None:
    sheet = draw_grid(torch.ones(1, 3, 20, 20), 1, "", side=60)
    low = with_legend(sheet, ["a", "b"], COLOURS[:2])
    tall = with_legend(sheet, ["circle", "square", "triangle"], COLOURS)
    colors = {color for _, color in tall.getcolors(10_000) or []}
    assert {(255, 0, 0), (0, 255, 0), (0, 0, 255)} <= colors
    assert sheet.height < low.height < tall.height
    assert tall.width == sheet.width


def test_grid_without_images_has_a_title() -> None:
    assert (pixels(torch.zeros(0, 3, 20, 20), 5, "nothing is wrong") < 128).any()


def test_long_title_widens_the_grid() -> None:
    title = "a title that is much wider than one picture"
    assert pixels(torch.zeros(1, 3, 20, 20), 1, title, side=20).shape[1] > 250


def test_caption_line_breaks_become_spaces() -> None:
    image = torch.zeros(1, 3, 20, 20)
    assert (pixels(image, 1, "", ["cat\nor dog"]) == pixels(image, 1, "", ["cat or dog"])).all()
