"""What a dataset component returns."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Spec:
    """What a model, a loss and a person need to know of a dataset before any sample is read.

    Args:
        task: what the targets are: class numbers, or vectors of numbers.
        in_shape: shape of one input: (C, H, W) or (F,).
        out_features: number of classes, or of numbers in a target.
        classes: a name for each class, their numbers when there are none; empty for regression.
        mean, std: of the training inputs, for each channel (or one for all), after bytes became numbers in [0, 1].
        standardize: mean and std are not known before the splits are: they are those of the training split.
        standardize_targets: the loss compares numbers in standard deviations of the training targets; outputs and
            targets stay in the dataset's own unit.
        target_mean, target_std: over all numbers of the training targets, where the loss is to; else 0 and 1.
        columns: where an input is a row of a table, the names of its numbers.
        left_out: names of the table's other columns: the target, and those that are not used.
        has_test: the publisher has set test samples apart.
        kernel: what made the targets of the inputs, [H, W], where one kernel did.
    """

    task: Literal["classification", "regression"]
    in_shape: tuple[int, ...]
    out_features: int
    classes: tuple[str, ...] = ()
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    standardize: bool = False
    standardize_targets: bool = False
    target_mean: float = 0.0
    target_std: float = 1.0
    columns: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    has_test: bool = False
    kernel: Tensor | None = None

    def __post_init__(self) -> None:
        if self.task == "classification" and not self.classes:
            object.__setattr__(self, "classes", tuple(map(str, range(self.out_features))))

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: how inputs are read and normalized, and what outputs mean."""
        keys = ("mean", "std", "target_mean", "target_std", "classes", "columns", "left_out")
        return {key: getattr(self, key) for key in keys}


class Readable(Protocol):
    """Inputs that are read one by one, such as picture files: `inputs[i]` is a tensor of in_shape."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


class Samples(NamedTuple):
    """Inputs with their targets, in a fixed order.

    Args:
        inputs: [N, *in_shape] as uint8 (bytes of pictures) or float32, or something readable one by one.
        targets: [N] int64 class numbers, or [N, out_features] float32.
    """

    inputs: Tensor | Readable
    targets: Tensor


class Pool(NamedTuple):
    """All samples to draw the splits from, and the publisher's own test and validation sets where there are some."""

    samples: Samples
    test: Samples | None = None
    val: Samples | None = None


class Dataset(Protocol):
    """A dataset component. One that downloads its files may have a method `fetch()` for it, called before `load()`."""

    spec: Spec

    def load(self) -> Pool: ...


def resize(images: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Bytes [N, C, H, W] scaled to a height and width (or to one size for both), bilinear with antialiasing."""
    wanted = (size, size) if isinstance(size, int) else size
    if images.shape[-2:] == wanted:
        return images
    scaled = [
        F.interpolate(chunk.float(), size=wanted, mode="bilinear", antialias=True).round().clamp(0, 255)
        for chunk in images.split(4096)  # as floats, four times as large: not all at once
    ]
    return torch.cat([chunk.to(torch.uint8) for chunk in scaled])
