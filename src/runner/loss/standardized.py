"""Standardized targets for regression: the weights and the loss work in standard deviations of the targets.

Everything else, such as metrics, plots, predictions and exported models, has values in the unit of the dataset.
"""

from typing import Any

from torch import Tensor, nn


class InUnitOfTargets:
    """A forward hook that converts the outputs of a model from standardized values to the unit of the targets.

    Without it, the model itself would have to learn the mean and the scale of the targets.

    Args:
        mean: mean of the training targets.
        std: standard deviation of the training targets.
    """

    def __init__(self, mean: float, std: float) -> None:
        self.mean, self.std = mean, std

    def __call__(self, module: nn.Module, inputs: Any, outputs: Tensor) -> Tensor:
        return outputs.float() * self.std + self.mean  # 16 bits are too few for a mean that is large beside std


class Standardized(nn.Module):
    """Apply a loss to standardized outputs and targets.

    Args:
        loss: loss of outputs and targets.
        mean: mean of the training targets.
        std: standard deviation of the training targets.

    Shapes:
        Input: [B, F], in the unit of the targets.
        Target: [B, F].
        Output: as `loss` returns it.
    """

    def __init__(self, loss: nn.Module, mean: float, std: float) -> None:
        super().__init__()
        self.loss, self.mean, self.std = loss, mean, std
        self.reduction = getattr(loss, "reduction", "mean")

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        value: Tensor = self.loss((outputs - self.mean) / self.std, (targets - self.mean) / self.std)
        return value
