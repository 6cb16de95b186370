from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import imread
from PIL import Image

from runner.dataset import Spec
from runner.tracking import plots
from runner.tracking.plots import (
    mistake_captions,
    plot_confusion,
    plot_curves,
    plot_fit,
    plot_mistakes,
    worst_mistakes,
)


def spec(classes: int, channels: int = 1) -> Spec:
    return Spec("classification", (channels, 8, 8), classes, tuple(f"class {number}" for number in range(classes)))


def is_png_image(path: Path) -> bool:
    """Return whether the file is a PNG image that is not blank."""
    picture = imread(path)
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and min(picture.shape[:2]) > 100 and bool(picture.std() > 0)


def answers(samples: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    outputs = torch.randn(samples, classes, generator=torch.Generator().manual_seed(0))
    return outputs, torch.arange(samples) % classes


TABLES = {
    "classification": "epoch,train/loss,train/accuracy,val/loss,val/accuracy\n1,2.0,0.5,2.1,0.4\n2,1.0,0.9,1.5,0.8\n",
    "one epoch": "epoch,train/loss,val/loss\n1,0.5,0.6\n",
    "validated every second epoch": "epoch,train/loss,val/loss\n1,0.5,\n2,0.4,0.6\n3,0.3,\n",
    "never validated": "epoch,train/loss,val/loss\n1,0.5,\n2,0.4,\n",
    "no numbers": "epoch,train/loss,val/loss\n1,nan,inf\n2,0.4,0.5\n",
    "long": "epoch,train/loss,val/loss\n" + "".join(f"{epoch},{1 / epoch},{2 / epoch}\n" for epoch in range(1, 100)),
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_plots_curves_for_any_table(tmp_path: Path, table: str) -> None:
    (tmp_path / "metrics.csv").write_text(table)
    plot_curves(tmp_path, tmp_path / "curves.png")
    assert is_png_image(tmp_path / "curves.png")


@pytest.mark.parametrize("classes", [2, 10, 20, 21, 100])
def test_plots_confusion_for_any_number_of_classes(tmp_path: Path, classes: int) -> None:
    plot_confusion(*answers(50, classes), spec(classes), tmp_path / "confusion.png")
    assert is_png_image(tmp_path / "confusion.png")


@pytest.mark.parametrize(("classes", "numbered"), [(20, True), (21, False)])
def test_confusion_shows_counts_and_names_up_to_20_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: int, numbered: bool
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(plots, "_save", lambda figure, target: figures.append(figure))
    plot_confusion(*answers(50, classes), spec(classes), tmp_path / "confusion.png")
    (axes,) = figures[0].axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert (len(axes.texts) > 0) == numbered
    assert (names == list(spec(classes).classes)) == numbered


def test_confusion_rows_are_true_and_columns_predicted_classes(tmp_path: Path) -> None:
    outputs = torch.eye(2)[[1, 1, 1]]
    plot_confusion(outputs, torch.zeros(3, dtype=torch.long), spec(2), tmp_path / "confusion.png")
    picture = imread(tmp_path / "confusion.png")[..., :3]
    height, width = picture.shape[:2]
    dark = picture.sum(2) < 1.2
    upper, lower = dark[height // 4 : height // 2 - 40], dark[height // 2 + 40 : height * 3 // 4]
    assert upper[:, width // 2 + 40 : width * 3 // 4].mean() > 0.5
    assert upper[:, width // 4 : width // 2 - 40].mean() < 0.1
    assert lower[:, width // 2 + 40 : width * 3 // 4].mean() < 0.1


def test_many_metrics_are_drawn_in_rows(tmp_path: Path) -> None:
    names = [f"{part}/m{number}" for number in range(6) for part in ("train", "val")]
    (tmp_path / "metrics.csv").write_text(f"epoch,{','.join(names)}\n1{',0.5' * len(names)}\n")
    plots.plot_curves(tmp_path, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert image.size == (1800, 700)


def test_titles_of_kernels_are_inside_the_picture(tmp_path: Path) -> None:
    plots.plot_kernels(torch.ones(3, 3), torch.ones(3, 3), tmp_path / "kernel.png")
    assert imread(tmp_path / "kernel.png")[:2, :, :3].min() == 1


def test_title_says_how_many_mistakes_are_shown_if_not_all() -> None:
    assert [plots.worst_shown(wrong) for wrong in (0, 25, 26)] == ["", "", "; the worst 25:"]


def test_worst_mistakes_are_sorted_by_probability_of_true_class() -> None:
    right, close, bad, worst = [9.0, 0, 0], [1.0, 1.1, 0], [0.0, 5, 0], [0.0, 0, 50]
    outputs = torch.tensor([bad, right, worst, close])
    indices, wrong = worst_mistakes(outputs, torch.zeros(4, dtype=torch.long))
    assert (indices.tolist(), wrong) == ([2, 0, 3], 3)


def test_all_mistakes_are_counted_and_the_worst_25_returned() -> None:
    strength = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    outputs = torch.stack([torch.zeros(40), strength / 4 + 0.1], dim=1)
    indices, wrong = worst_mistakes(outputs, torch.zeros(40, dtype=torch.long))
    assert wrong == 40
    assert strength[indices].tolist() == list(range(39, 14, -1))


def test_no_mistakes_give_no_indices() -> None:
    indices, wrong = worst_mistakes(torch.eye(3), torch.arange(3))
    assert (indices.tolist(), wrong) == ([], 0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mistakes", [0, 1, 7, 25])
def test_plots_any_number_of_mistakes_in_gray_and_color(tmp_path: Path, channels: int, mistakes: int) -> None:
    images = torch.arange(mistakes * channels * 64).view(mistakes, channels, 8, 8) - 100
    captions = mistake_captions(*answers(mistakes, 10), spec(10).classes)
    plot_mistakes(images, captions, "title", tmp_path / "mistakes.png")
    assert is_png_image(tmp_path / "mistakes.png")


def test_images_are_scaled_to_the_full_range(tmp_path: Path) -> None:
    one_color, wide = torch.full((1, 8, 8), 255.0), torch.linspace(-5, 1000, 64).view(1, 8, 8)
    images = torch.stack([one_color, wide])
    plot_mistakes(images, ["one color", "wide"], "title", tmp_path / "mistakes.png")
    with Image.open(tmp_path / "mistakes.png") as grid:
        shown = [grid.convert("L").crop((left, 60, left + 140, 200)).getextrema() for left in (8, 156)]
    assert shown == [(0, 0), (0, 255)]


@pytest.mark.parametrize("shape", [(50, 1), (6000, 3)])
def test_plots_regression_fit(tmp_path: Path, shape: tuple[int, int]) -> None:
    targets = torch.linspace(-3, 3, shape[0] * shape[1]).view(shape)
    plot_fit(targets + 0.1, targets, tmp_path / "fit.png")
    assert is_png_image(tmp_path / "fit.png")
