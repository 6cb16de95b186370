"""Reconstruction: the inputs are the targets."""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from runner.dataset.tree import Tree
from runner.registry import TASKS
from runner.task.base import Task


@TASKS.register("reconstruction")
class Reconstruction(Task):
    """Reconstruct the inputs, as an autoencoder does; the dataset's own targets are not used.

    Outputs have the shape of the inputs, [B, *in_shape], and are compared with the normalized inputs.
    """

    compares: ClassVar[Literal["classes", "values"] | None] = "values"
    score: ClassVar[str | None] = "r2"

    def batch(self, inputs: Tree, targets: Tree) -> tuple[Tree, Tree]:
        return inputs, inputs

    def metrics(self) -> list[str]:
        return ["mae", "r2"]

    def out_shape(self) -> tuple[int, ...] | None:
        return self.spec.in_shape

    def answer(self, outputs: Any, inputs: Tree) -> dict[str, Any]:
        """Return the mean squared error of the reconstruction of the normalized input."""
        return {"mse": (outputs - inputs).square().mean().item()}

    def picture(self, outputs: Any) -> Tensor | None:
        """Return the reconstructed image [C, H, W], if inputs are images."""
        if len(self.spec.in_shape) != 3:
            return None
        mean, std = (
            torch.tensor(values, device=outputs.device).view(-1, 1, 1) for values in (self.spec.mean, self.spec.std)
        )
        return (255 * (outputs * std + mean)).round().clamp(0, 255).byte()
