"""Targets of any size: the model and the loss see standardized numbers, all others the dataset's own."""

from typing import Any

from torch import Tensor, nn


class InUnitOfTargets:
    """A forward hook that gives a model's outputs the mean and standard deviation of the targets.

    The weights stay small, and all that reads outputs (metrics, plots, predictions, exported models) has them in the
    unit of the dataset.
    """

    def __init__(self, mean: float, std: float) -> None:
        self.mean, self.std = mean, std

    def __call__(self, module: nn.Module, inputs: Any, outputs: Tensor) -> Tensor:
        return outputs.float() * self.std + self.mean  # in 16 bits there would be no room for the mean


class Standardized(nn.Module):
    """Compares outputs and targets [B, F] by `loss`, in standard deviations of the targets."""

    def __init__(self, loss: nn.Module, mean: float, std: float) -> None:
        super().__init__()
        self.loss, self.mean, self.std = loss, mean, std
        self.reduction = getattr(loss, "reduction", "mean")

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        value: Tensor = self.loss((outputs - self.mean) / self.std, (targets - self.mean) / self.std)
        return value
