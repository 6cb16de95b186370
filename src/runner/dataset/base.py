"""The interface of dataset components."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from runner.dataset.frame import Frame
from runner.dataset.tree import Tree, is_tree, map_tensors, samples


@dataclass(frozen=True)
class Spec:
    """The properties of a dataset that are known before its samples are read.

    Args:
        task: name of the task that the dataset is for, such as classification; `task=auto` chooses it.
        in_shape: shape of one input, such as (C, H, W) or (F,).
        out_features: number of classes, or of values in a target.
        classes: class names, or the tokens of a vocabulary; empty for regression. Default: the class indices as text.
        mean: mean of the training inputs, one value per channel or one for all, after scaling bytes to [0, 1].
        std: standard deviation of the training inputs, like `mean`.
        standardize: whether to measure `mean` and `std` on the training split.
        standardize_targets: whether to compute the loss in standard deviations of the training targets. Outputs and
            targets stay in the unit of the dataset.
        target_mean: mean of all values in the training targets, measured if `standardize_targets` is set.
        target_std: standard deviation of all values in the training targets, like `target_mean`.
        columns: column names of the inputs, if they are rows of a table.
        left_out: names of the other columns of the table, such as the target.
        has_test: whether the dataset comes with a test set of its own, which `dataset.test_share=null` tests on.
        kernel: convolution kernel [H, W] that computes the targets from the inputs, if there is one.
        supplies: further values that components receive by name, such as {"vocab_size": 256}.
        frame: how pictures become inputs, also those that `predict` reads; None: they are resized to `in_shape`.
        example: one input of zeros, without a batch dimension, with which the model is checked before the data is read.
            None: float32 of `in_shape`.
    """

    task: str
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
    supplies: Mapping[str, Any] = field(default_factory=dict)
    frame: Frame | None = None
    example: Tree = None

    def __post_init__(self) -> None:
        if self.task in ("classification", "multilabel", "segmentation") and not self.classes:
            object.__setattr__(self, "classes", tuple(map(str, range(self.out_features))))

    @property
    def two_inputs(self) -> Tree:
        """A batch of two inputs of zeros, on torch's default device."""
        if self.example is None:
            return torch.zeros(2, *self.in_shape)
        return map_tensors(lambda tensor: torch.zeros(2, *tensor.shape, dtype=tensor.dtype), self.example)

    def state_dict(self) -> dict[str, Any]:
        """Return the values for a checkpoint: how inputs are normalized, and what outputs mean."""
        keys = ("mean", "std", "target_mean", "target_std", "classes", "columns", "left_out")
        return {key: getattr(self, key) for key in keys}


class Readable(Protocol):
    """Inputs that are read one at a time, such as image files.

    `inputs[i]` is a tensor [*in_shape], a number or NumPy array, or a tuple or dict of them, unless the dataset has a
    method `collate`, which takes anything.

    An attribute `draws = False` states that reading an input draws no random numbers, so that no generator is seeded. A
    method `take(indices)`, which returns several inputs as one batch, is called instead if there is one.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


class Samples(NamedTuple):
    """Inputs with their targets, in a fixed order.

    Args:
        inputs: tensor [N, *in_shape], or a tuple or dict of tensors of length N: uint8 (images), float32, or integers
            (tokens). Or an object that reads one input at a time.
        targets: class indices [N], int64, or values [N, out_features], float32; or whatever else the task compares the
            outputs with: a tensor, tuple or dict of tensors of length N, or an object that reads one target at a time.
    """

    inputs: Tree
    targets: Tree

    @property
    def size(self) -> int:
        """Number of samples."""
        return samples(self.targets) if is_tree(self.targets) else len(self.targets)


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


def as_pool(loaded: Pool | Samples) -> Pool:
    """Return what a dataset has loaded as a pool; `load` may return plain samples."""
    return Pool(loaded) if isinstance(loaded, Samples) else loaded


class Dataset(Protocol):
    """A dataset component.

    It may also have a method `fetch`, which downloads files and is called before `load`, and a method `collate`, which
    returns the batch of a list of samples (input, target) that have different sizes, as in DataLoader.
    """

    spec: Spec

    def load(self) -> Pool:
        """Read and return the samples."""
        ...
