"""One-hot encoding of class targets, for losses that compare values."""

import torch.nn.functional as F
from torch import Tensor, nn


class OneHot(nn.Module):
    """Apply a loss to one-hot encoded class targets.

    Args:
        loss: loss that takes outputs and targets of shape [B, classes].
        classes: number of classes.

    Shapes:
        Input: [B, classes].
        Target: class indices [B].
        Output: as `loss` returns it.
    """

    def __init__(self, loss: nn.Module, classes: int) -> None:
        super().__init__()
        self.loss, self.classes = loss, classes
        self.reduction = getattr(loss, "reduction", "mean")

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.loss(outputs, F.one_hot(targets, self.classes).to(outputs.dtype))
