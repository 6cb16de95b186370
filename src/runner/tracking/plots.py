"""The figures in plots/: learning curves, and the model's predictions on the test split."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from runner.dataset.base import Spec
from runner.tracking.metrics_csv import read_rows
from runner.tracking.mosaic import draw_grid

PANELS = 4  # maximum number of metrics in a row of the learning curves
MISTAKES = 25  # maximum number of images in the grid of mistakes
COMPRESSION = 1  # PNG compression level; three times as fast as the default, 6


def plot_curves(folder: Path, target: Path) -> None:
    """Plot each metric of a run folder's metrics.csv over the epochs, for training and validation."""
    epochs = read_rows(folder)
    if not epochs:
        return
    names = [column.removeprefix("train/") for column in epochs[0] if column.startswith("train/")]
    columns = min(len(names), PANELS)
    rows = math.ceil(len(names) / columns)
    width, height = 4.5 * columns, 3.5 * rows
    figure = Figure(figsize=(width, height))  # fixed margins: a layout engine doubles the drawing time
    margins = {"left": 0.75 / width, "right": 1 - 0.15 / width, "bottom": 0.5 / height, "top": 1 - 0.15 / height}
    gaps = {"wspace": 0.25, "hspace": 0.25}
    panels = figure.subplots(rows, columns, squeeze=False, gridspec_kw={**margins, **gaps}).flatten()
    for axes in panels[len(names) :]:
        axes.remove()
    for name, axes in zip(names, panels, strict=False):
        for part in ("train", "val"):
            points = [(int(row["epoch"]), float(row[f"{part}/{name}"])) for row in epochs if row[f"{part}/{name}"]]
            axes.plot(*zip(*points, strict=True), marker="." if len(points) < 50 else "", label=part)
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    _save(figure, target)


def plot_confusion(outputs: Tensor, targets: Tensor, spec: Spec, target: Path) -> None:
    """Plot the confusion matrix of outputs [N, K] and class indices [N]."""
    classes = len(spec.classes)
    counts = torch.bincount(targets * classes + outputs.argmax(1), minlength=classes**2).view(classes, classes)
    shown = spec.classes if classes <= 20 else ()
    names = 0.14 * max(map(len, shown), default=2)  # inches for the class names beside the axes
    side = min(3.4 + 0.35 * classes, 19)
    size = 0.6 + names + side  # fixed margins: a layout engine doubles the drawing time
    figure = Figure(figsize=(size, size))
    axes = figure.add_axes(((0.5 + names) / size, (0.5 + names) / size, (side - 0.35) / size, (side - 0.35) / size))
    axes.imshow((counts / counts.sum(1, keepdim=True).clamp(min=1)).numpy(), cmap="Blues", vmin=0, vmax=1)
    if shown:
        for row in range(classes):
            for column in range(classes):
                if count := int(counts[row, column]):
                    dark = count > 0.5 * counts[row].sum()
                    color = "white" if dark else "black"
                    axes.text(column, row, str(count), ha="center", va="center", color=color)
        axes.set_xticks(range(classes), shown, rotation=90 if max(map(len, shown)) > 2 else 0)
        axes.set_yticks(range(classes), shown)
    axes.set(xlabel="predicted", ylabel="true", title="Test split")
    _save(figure, target)


def worst_mistakes(outputs: Tensor, targets: Tensor) -> tuple[Tensor, int]:
    """Return the misclassified samples with the lowest probability of the true class.

    Returns:
        Indices of at most `MISTAKES` samples, the worst first, and the number of all misclassified samples.
    """
    probability = outputs.softmax(1).gather(1, targets[:, None]).squeeze(1)
    wrong = (outputs.argmax(1) != targets).nonzero().squeeze(1)
    return wrong[probability[wrong].argsort()][:MISTAKES], len(wrong)


def worst_shown(wrong: int) -> str:
    """Return the end of a title above images of mistakes: how many are shown if those are not all."""
    return f"; the worst {MISTAKES}:" if wrong > MISTAKES else ""


def plot_mistakes(images: Tensor, captions: Sequence[str], title: str, target: Path) -> None:
    """Plot misclassified images.

    Args:
        images: images [M, C, H, W] with 1 or 3 channels, in any range.
        captions: one caption per image.
        title: title of the figure.
        target: PNG file to write.
    """
    colors = stretch(images.float(), dims=(1, 2, 3)).expand(-1, 3, -1, -1)
    draw_grid(colors, 5, title, captions).save(target, compress_level=COMPRESSION)


def mistake_captions(outputs: Tensor, targets: Tensor, classes: Sequence[str]) -> list[str]:
    """Return the true and the predicted class of each sample, for outputs [M, K] and class indices [M]."""
    return [
        f"{classes[truth]:.25} predicted as {classes[taken]:.25}"
        for truth, taken in zip(targets.tolist(), outputs.argmax(1).tolist(), strict=True)
    ]


def plot_fit(outputs: Tensor, targets: Tensor, target: Path) -> None:
    """Plot predicted against true values [N, F] of the test split, for regression."""
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    low, high = float(targets.min()), float(targets.max())
    axes.plot([low, high], [low, high], color="gray", linewidth=1)
    axes.plot(targets.flatten()[:10_000].numpy(), outputs.flatten()[:10_000].numpy(), ".", markersize=3)
    axes.set(xlabel="true", ylabel="predicted", title="Test split")
    _save(figure, target)


def plot_function(points: tuple[Tensor, Tensor], curve: tuple[Tensor, Tensor], target: Path) -> None:
    """Plot the training points and the fitted curve, for models with one input and one output.

    Args:
        points: x [N] and y [N] of the training samples.
        curve: x [M] and y [M] of the model.
        target: PNG file to write.
    """
    figure = Figure(figsize=(5.5, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(*(values.numpy() for values in curve), label="fitted")
    axes.plot(*(values.numpy() for values in points), "k.", label="training points")
    axes.set(xlabel="x", ylabel="y")
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, target)


def plot_kernels(learned: Tensor, true: Tensor, target: Path) -> None:
    """Plot a learned kernel [H, W] beside the true one [H, W], with their values."""
    figure = Figure(figsize=(6, 3.3))  # fixed margins: a layout engine cuts off the titles
    margins = {"left": 0.02, "right": 0.98, "bottom": 0.02, "top": 0.9, "wspace": 0.04}
    panels = figure.subplots(1, 2, gridspec_kw=margins)
    limit = float(max(learned.abs().max(), true.abs().max()))
    for axes, title, kernel in zip(panels, ("learned", "true"), (learned, true), strict=True):
        axes.imshow(kernel.numpy(), cmap="RdBu", vmin=-limit, vmax=limit)
        for row, values in enumerate(kernel.tolist()):
            for column, value in enumerate(values):
                color = "white" if abs(value) > 0.5 * limit else "black"
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=color)
        axes.set_title(title)
        axes.axis("off")
    _save(figure, target)


def plot_feature_maps(images: Tensor, maps: Tensor, target: Path) -> None:
    """Plot images [M, C, H, W], and to the right of each its feature maps [M, K, H', W'] of the first convolution."""
    pictures = stretch(images.float(), dims=(1, 2, 3)).expand(-1, 3, -1, -1)
    features = stretch(F.interpolate(maps[:, :8], size=tuple(images.shape[-2:])))
    colored = torch.from_numpy(colormaps["viridis"](features.numpy())[..., :3]).movedim(-1, 2)  # [M, K, 3, H, W]
    grid = torch.cat([pictures[:, None], colored], dim=1)
    title = "Test images and feature maps of the first convolution"
    draw_grid(grid.flatten(0, 1), grid.shape[1], title, side=90).save(target, compress_level=COMPRESSION)


def stretch(pictures: Tensor, dims: tuple[int, ...] = (2, 3)) -> Tensor:
    """Scale images [M, K, H, W] to [0, 1], with the minimum and maximum taken over `dims`."""
    low, high = pictures.amin(dims, keepdim=True), pictures.amax(dims, keepdim=True)
    return (pictures - low) / (high - low).clamp(min=1e-9)


def _save(figure: Figure, target: Path) -> None:
    FigureCanvasAgg(figure).print_png(str(target), pil_kwargs={"compress_level": COMPRESSION})
