"""Draw the plots that suit the task and the data of a run."""

from pathlib import Path

import torch
from torch import Tensor, nn

from runner.tracking import plots
from runner.training.parts import Parts

SHOWN = 6  # images to show with their feature maps


def draw_pictures(parts: Parts, outputs: Tensor, targets: Tensor, folder: Path) -> None:
    """Write plots/ in a run folder.

    Args:
        parts: parts of the run, with the weights to show.
        outputs: outputs of the model for the test split.
        targets: targets of the test split.
        folder: run folder.
    """
    target, spec = folder / "plots", parts.spec
    plots.plot_curves(folder, target / "curves.png")
    has_images = len(spec.in_shape) == 3 and spec.in_shape[0] in (1, 3)
    if spec.task == "classification":
        plots.plot_confusion(outputs, targets, spec, target / "confusion.png")
        if has_images:
            draw_mistakes(parts, outputs, targets, target / "mistakes.png")
    elif spec.in_shape == (1,) and spec.out_features == 1:
        draw_function(parts, target / "fit.png")
    else:
        plots.plot_fit(outputs, targets, target / "fit.png")
    convolution = next((module for module in parts.judged.modules() if isinstance(module, nn.Conv2d)), None)
    if convolution is not None and spec.kernel is not None:
        plots.plot_kernels(convolution.weight.detach().cpu()[0, 0], spec.kernel, target / "kernel.png")
    if convolution is not None and has_images:
        draw_feature_maps(parts, convolution, target / "features.png")


def draw_mistakes(parts: Parts, outputs: Tensor, targets: Tensor, target: Path) -> None:
    """Draw the worst mistakes of a classifier on the test split."""
    worst, wrong = plots.worst_mistakes(outputs, targets)
    title = f"{wrong} of {len(targets)} test images are wrong" + (", the worst:" if wrong else "")
    images = parts.test.raw(worst).cpu() if wrong else torch.empty(0, *parts.spec.in_shape)
    captions = plots.mistake_captions(outputs[worst], targets[worst], parts.spec.classes)
    plots.plot_mistakes(images, captions, title, target)


def draw_function(parts: Parts, target: Path) -> None:
    """Draw up to 1,000 training points, and the fitted function over their range."""
    points = list(parts.train.source.batches(torch.arange(len(parts.train.source))[:1000], 1000))
    x, y = (torch.cat(values).flatten().cpu() for values in zip(*points, strict=True))
    between = torch.linspace(float(x.min()), float(x.max()), 200)
    with torch.no_grad():
        fitted = parts.judged(parts.test.normalise(between[:, None].to(parts.device))).flatten().float().cpu()
    plots.plot_function((x, y), (between, fitted), target)


def draw_feature_maps(parts: Parts, convolution: nn.Conv2d, target: Path) -> None:
    """Draw the first test images, and the feature maps that a convolution computes from them."""
    images = parts.test.raw(torch.arange(min(SHOWN, parts.test.samples)))
    maps: list[Tensor] = []
    handle = convolution.register_forward_hook(lambda module, inputs, output: maps.append(output.float().cpu()))
    try:
        with torch.no_grad():
            parts.judged(parts.test.normalise(images))
    finally:
        handle.remove()
    plots.plot_feature_maps(images.cpu(), maps[0], target)
