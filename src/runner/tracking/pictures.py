"""Which pictures a run gets, by its task and data."""

from pathlib import Path

import torch
from torch import Tensor, nn

from runner.tracking import plots
from runner.training.parts import Parts

SHOWN = 6  # images with their feature maps


def draw_pictures(parts: Parts, outputs: Tensor, targets: Tensor, table: Path, folder: Path) -> None:
    """Draws them into `folder`.

    Args:
        parts: with the weights to show.
        outputs, targets: of the test split, in its order.
        table: metrics.csv.
    """
    plots.plot_curves(table, folder / "curves.png")
    pictures = len(parts.spec.in_shape) == 3 and parts.spec.in_shape[0] in (1, 3)
    if parts.spec.task == "classification":
        plots.plot_confusion(outputs, targets, parts.spec, folder / "confusion.png")
        if pictures:
            draw_mistakes(parts, outputs, targets, folder / "mistakes.png")
    elif parts.spec.in_shape == (1,) and parts.spec.out_features == 1:
        draw_function(parts, folder / "fit.png")
    else:
        plots.plot_fit(outputs, targets, folder / "fit.png")
    convolution = next((module for module in parts.judged.modules() if isinstance(module, nn.Conv2d)), None)
    if convolution is not None and parts.spec.kernel is not None:
        plots.plot_kernels(convolution.weight.detach().cpu()[0, 0], parts.spec.kernel, folder / "kernel.png")
    if convolution is not None and pictures:
        draw_feature_maps(parts, convolution, folder / "features.png")


def draw_mistakes(parts: Parts, outputs: Tensor, targets: Tensor, target: Path) -> None:
    worst, wrong = plots.worst_mistakes(outputs, targets)
    title = f"{wrong} of {len(targets)} test images are wrong" + (", the worst:" if wrong else "")
    images = parts.test.raw(worst).cpu() if wrong else torch.empty(0, *parts.spec.in_shape)
    plots.plot_mistakes(images, outputs[worst], targets[worst], parts.spec, title, target)


def draw_function(parts: Parts, target: Path) -> None:
    """The training points, and the model's answers between the smallest and the largest of them."""
    points = list(parts.train.source.batches(torch.arange(len(parts.train.source))[:1000], 1000))
    x, y = (torch.cat(values).flatten().cpu() for values in zip(*points, strict=True))
    between = torch.linspace(float(x.min()), float(x.max()), 200)
    with torch.no_grad():
        fitted = parts.judged(parts.test.normalise(between[:, None].to(parts.device))).flatten().float().cpu()
    plots.plot_function((x, y), (between, fitted), target)


def draw_feature_maps(parts: Parts, convolution: nn.Conv2d, target: Path) -> None:
    """The first test images, and what the first convolution makes of them."""
    images = parts.test.raw(torch.arange(min(SHOWN, parts.test.samples)))
    maps: list[Tensor] = []
    handle = convolution.register_forward_hook(lambda module, inputs, output: maps.append(output.float().cpu()))
    try:
        with torch.no_grad():
            parts.judged(parts.test.normalise(images))
    finally:
        handle.remove()
    plots.plot_feature_maps(images.cpu(), maps[0], target)
