"""The base class of tasks."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from runner.dataset.base import Spec
from runner.dataset.tree import Tree, samples


class Task:
    """What a batch means: how the model is called, what the loss compares, and what is measured and shown.

    A subclass overrides what differs. The runner sets `spec` and `loss_fn` before it calls any method.

    Attributes:
        fits: tasks of datasets (`Spec.task`) that this task can train on; empty: any.
        compares: what the loss compares the outputs with: class indices, values, or None for anything else.
        score: metric that `fit` in results.json is computed from, where 1 is perfect; None: it is unknown.
        spec: spec of the dataset.
        loss_fn: the loss of the config.
    """

    fits: ClassVar[tuple[str, ...]] = ()
    compares: ClassVar[Literal["classes", "values"] | None] = None
    score: ClassVar[str | None] = None
    spec: Spec
    loss_fn: nn.Module

    def batch(self, inputs: Tree, targets: Tree) -> tuple[Tree, Tree]:
        """Return the inputs and targets of a batch as the model and the loss take them."""
        return inputs, targets

    def forward(self, model: Callable[..., Any], inputs: Tree) -> Any:
        """Return the outputs: `model(inputs)`, `model(*inputs)` for a tuple, `model(**inputs)` for a dict."""
        if isinstance(inputs, dict):
            return model(**inputs)
        return model(*inputs) if isinstance(inputs, tuple) else model(inputs)

    def loss(self, loss_fn: nn.Module, outputs: Any, targets: Tree, inputs: Tree) -> Tensor:
        """Return the training loss: the mean over what `weight` counts."""
        return loss_fn(outputs, targets)

    def weight(self, targets: Tree) -> Tensor | int:
        """Return the weight of a micro-batch in the mean over a step: the number of terms in the mean of its loss.

        Micro-batches, and the shares of several processes, then give the gradient of the one large batch.

        Returns:
            The number of samples as an int; or a tensor [] with the number of tokens or pixels, or the sum of the
            class weights.
        """
        return samples(targets)

    def metrics(self) -> list[str]:
        """Return the names of the metrics that are measured if the config's `metrics` is null, besides the loss."""
        return []

    def out_shape(self) -> tuple[int, ...] | None:
        """Return the shape of the outputs for one sample; None if it is not checked."""
        return None

    def two_targets(self) -> Tree:
        """Return a batch of two targets, on torch's default device, with which the loss and the metrics are tried."""
        return torch.zeros(2, *(self.out_shape() or (self.spec.out_features,)))

    def class_counts(self, targets: Tree) -> Tensor:
        """Return the number of training targets of each class [K]; an empty tensor if there are no classes."""
        return torch.zeros(0)

    def compared(self, targets: Tree) -> Tree:
        """Return the targets as metrics take them."""
        return targets

    def predicted(self, outputs: Any) -> Any:
        """Return the predictions that are compared with the targets for equality, such as class indices."""
        return outputs

    def scores(self, outputs: Any) -> Any:
        """Return the outputs as metrics of torchmetrics take them, such as probabilities."""
        return outputs

    def per_class(self, outputs: Any, targets: Tree) -> dict[str, Tensor]:
        """Return measures of each class [K] by name, of the test split, for the log."""
        return {}

    def answer(self, outputs: Any, inputs: Tree) -> dict[str, Any]:
        """Return the columns that `predict` writes for one sample.

        Args:
            outputs: outputs of the model for this sample, without the batch dimension.
            inputs: normalized inputs of this sample.
        """
        return {f"output{index}": value for index, value in enumerate(outputs.flatten().tolist())}

    def picture(self, outputs: Any) -> Tensor | None:
        """Return the prediction for one sample as an image [C, H, W], uint8, if it is one, for `predict` to write."""
        return None
