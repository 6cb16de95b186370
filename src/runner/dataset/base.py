"""The interface of dataset components."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Spec:
    """The properties of a dataset that are known before its samples are read.

    Args:
        task: classification (targets are class indices) or regression (targets are vectors).
        in_shape: shape of one input, such as (C, H, W) or (F,).
        out_features: number of classes, or of values in a target.
        classes: class names; empty for regression. Default: the class indices as text.
        mean: mean of the training inputs, one value per channel or one for all, after scaling bytes to [0, 1].
        std: standard deviation of the training inputs, like `mean`.
        standardize: whether to measure `mean` and `std` on the training split.
        standardize_targets: whether to compute the loss in standard deviations of the training targets. Outputs and
            targets stay in the unit of the dataset.
        target_mean: mean of all values in the training targets, measured if `standardize_targets` is set.
        target_std: standard deviation of all values in the training targets, like `target_mean`.
        columns: column names of the inputs, if they are rows of a table.
        left_out: names of the other columns of the table, such as the target.
        has_test: whether the dataset comes with a test set of its own.
        kernel: convolution kernel [H, W] that computes the targets from the inputs, if there is one.
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
        """Return the values for a checkpoint: how inputs are normalized, and what outputs mean."""
        keys = ("mean", "std", "target_mean", "target_std", "classes", "columns", "left_out")
        return {key: getattr(self, key) for key in keys}


class Readable(Protocol):
    """Inputs that are read one at a time, such as image files: `inputs[i]` is a tensor [*in_shape].

    An attribute `draws = False` states that reading an input draws no random numbers, so that no generator is seeded.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


class Samples(NamedTuple):
    """Inputs with their targets, in a fixed order.

    Args:
        inputs: tensor [N, *in_shape], uint8 (images) or float32, or an object that reads one input at a time.
        targets: class indices [N], int64, or values [N, out_features], float32.
    """

    inputs: Tensor | Readable
    targets: Tensor


class Pool(NamedTuple):
    """All samples of a dataset, before they are split.

    Args:
        samples: samples to split.
        test: the publisher's test set, if there is one.
        val: the publisher's validation set, if there is one.
    """

    samples: Samples
    test: Samples | None = None
    val: Samples | None = None


class Dataset(Protocol):
    """A dataset component. It may also have a method `fetch`, which downloads files and is called before `load`."""

    spec: Spec

    def load(self) -> Pool:
        """Read and return the samples."""
        ...


def resize(images: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Resize uint8 images [N, C, H, W] by bilinear interpolation with antialiasing.

    Args:
        images: the images.
        size: height and width of the result, or one number for both.
    """
    wanted = (size, size) if isinstance(size, int) else size
    if images.shape[-2:] == wanted:
        return images
    scaled = [
        F.interpolate(chunk.float(), size=wanted, mode="bilinear", antialias=True).round().clamp(0, 255)
        for chunk in images.split(4096)  # in chunks, because floats need four times the memory
    ]
    return torch.cat([chunk.to(torch.uint8) for chunk in scaled])
