"""Draw the plots that suit the task and the data of a run."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from runner.task import Classification, LanguageModeling, Multilabel, Reconstruction, Regression, Segmentation
from runner.tracking import examples, plots
from runner.training.parts import Parts

SHOWN = 6  # images to show with their feature maps


def draw_pictures(parts: Parts, outputs: Any, targets: Any, folder: Path) -> None:
    """Write plots/ in a run folder.

    Args:
        parts: parts of the run, with the weights to show.
        outputs: outputs of the model for the test split.
        targets: targets of the test split.
        folder: run folder.
    """
    target, spec = folder / "plots", parts.spec
    plots.plot_curves(folder, target / "curves.png")
    has_images = len(spec.in_shape) == 3 and spec.in_shape[0] in (1, 3) and spec.example is None
    draw_predictions(parts, outputs, targets, target, has_images)
    convolution = next((module for module in parts.eval_model.modules() if isinstance(module, nn.Conv2d)), None)
    if convolution is not None and spec.kernel is not None:
        plots.plot_kernels(convolution.weight.detach().cpu()[0, 0], spec.kernel, target / "kernel.png")
    if convolution is not None and has_images:
        draw_feature_maps(parts, convolution, target / "features.png")


def draw_predictions(parts: Parts, outputs: Any, targets: Any, target: Path, has_images: bool) -> None:
    """Draw predictions beside targets, as suits the task; nothing for a task that is not one of the shipped kinds."""
    task, spec = parts.task, parts.spec
    if isinstance(task, Segmentation):
        if has_images:
            draw_masks(parts, task, (outputs, targets), target / "examples.png")
    elif isinstance(task, Reconstruction):
        if has_images:
            draw_reconstructions(outputs, targets, target / "examples.png")
    elif isinstance(task, Multilabel):
        if has_images:
            draw_labels(parts, task, (outputs, targets), target / "examples.png")
    elif isinstance(task, LanguageModeling) or not isinstance(task, Classification | Regression):
        pass
    elif isinstance(task, Classification):
        plots.plot_confusion(outputs, targets, spec, target / "confusion.png")
        if has_images:
            draw_mistakes(parts, outputs, targets, target / "mistakes.png")
    elif spec.in_shape == (1,) and spec.out_features == 1:
        draw_function(parts, target / "fit.png")
    else:
        plots.plot_fit(outputs, targets, target / "fit.png")


def draw_masks(parts: Parts, task: Segmentation, batch: tuple[Tensor, Tensor], target: Path) -> None:
    """Draw test images, their true masks and the predicted ones."""
    outputs, targets = (each[:SHOWN] for each in batch)
    images = parts.test.raw(torch.arange(len(outputs))).cpu()
    examples.plot_masks(images, targets, task.predicted(outputs), parts.spec.classes, target)


def draw_reconstructions(outputs: Tensor, targets: Tensor, target: Path) -> None:
    """Draw normalized test images above their reconstructions."""
    examples.plot_reconstructions(targets[:SHOWN], outputs[:SHOWN], target)


def draw_labels(parts: Parts, task: Multilabel, batch: tuple[Tensor, Tensor], target: Path) -> None:
    """Draw the test images with the most wrong labels, with their true and predicted labels."""
    found, true = task.predicted(batch[0]), task.compared(batch[1])
    wrong = (found != true).sum(1)
    count = int((wrong > 0).sum())
    worst = wrong.argsort(descending=True, stable=True)[: min(count, plots.MISTAKES)]
    names = [examples.names_of(rows[worst], parts.spec.classes) for rows in (true, found)]
    captions = [f"{own} predicted as {its}" for own, its in zip(*names, strict=True)]
    title = f"{count} of {len(wrong)} test images have a wrong label{plots.worst_shown(count)}"
    plots.plot_mistakes(parts.test.raw(worst).cpu(), captions, title, target)


def draw_mistakes(parts: Parts, outputs: Tensor, targets: Tensor, target: Path) -> None:
    """Draw the worst mistakes of a classifier on the test split."""
    worst, wrong = plots.worst_mistakes(outputs, targets)
    title = f"{wrong} of {len(targets)} test images are misclassified{plots.worst_shown(wrong)}"
    captions = plots.mistake_captions(outputs[worst], targets[worst], parts.spec.classes)
    plots.plot_mistakes(parts.test.raw(worst).cpu(), captions, title, target)


def draw_function(parts: Parts, target: Path) -> None:
    """Draw up to 1,000 training points, and the fitted function over their range."""
    points = list(parts.train.source.batches(torch.arange(len(parts.train.source))[:1000], 1000))
    x, y = (torch.cat(values).flatten().cpu() for values in zip(*points, strict=True))
    between = torch.linspace(float(x.min()), float(x.max()), 200)
    with torch.no_grad():
        fitted = parts.eval_model(parts.test.normalize(between[:, None].to(parts.device))).flatten().float().cpu()
    plots.plot_function((x, y), (between, fitted), target)


def draw_feature_maps(parts: Parts, convolution: nn.Conv2d, target: Path) -> None:
    """Draw the first test images, and the feature maps that a convolution computes from them."""
    images = parts.test.raw(torch.arange(min(SHOWN, parts.test.samples)))
    maps: list[Tensor] = []
    handle = convolution.register_forward_hook(lambda module, inputs, output: maps.append(output.float().cpu()))
    try:
        with torch.no_grad():
            parts.eval_model(parts.test.normalize(images))
    finally:
        handle.remove()
    plots.plot_feature_maps(images.cpu(), maps[0], target)
