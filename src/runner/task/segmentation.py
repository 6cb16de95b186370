"""Semantic segmentation: one class for each pixel."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from runner.dataset.tree import Tree
from runner.registry import TASKS
from runner.task.classification import Classification


@TASKS.register("segmentation")
class Segmentation(Classification):
    """Predict the class of each pixel: images [B, C, H, W], outputs [B, K, H, W], masks [B, H, W]."""

    fits: ClassVar[tuple[str, ...]] = ("segmentation",)
    is_masked: ClassVar[bool] = True

    def loss(self, loss_fn: nn.Module, outputs: Any, targets: Tree, inputs: Tree) -> Tensor:
        """Return the loss over all pixels of the batch, as outputs [B * H * W, K] and targets [B * H * W].

        With further dimensions, cross-entropy has no deterministic algorithm on CUDA.
        """
        return loss_fn(outputs.movedim(1, -1).flatten(0, -2), targets.flatten())

    def out_shape(self) -> tuple[int, ...] | None:
        return (self.spec.out_features, *self.spec.in_shape[1:])

    def two_targets(self) -> Tree:
        return torch.zeros(2, *self.spec.in_shape[1:], dtype=torch.long)

    def per_class(self, outputs: Any, targets: Tree) -> dict[str, Tensor]:
        """Return the intersection over union of each class."""
        counted = targets != self.ignored
        found, true = self.predicted(outputs)[counted], targets[counted]
        both = self.class_counts(found[found == true])
        return {"IoU": both / (self.class_counts(found) + self.class_counts(true) - both).clamp(min=1)}

    def answer(self, outputs: Any, inputs: Tree) -> dict[str, Any]:
        """Return the share of the pixels of each class."""
        found = outputs.argmax(0)
        return {
            f"share({name})": (found == index).double().mean().item() for index, name in enumerate(self.spec.classes)
        }

    def picture(self, outputs: Any) -> Tensor | None:
        """Return the mask [1, H, W], whose values are class indices."""
        return outputs.argmax(0, keepdim=True).byte()
