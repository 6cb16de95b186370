"""A loss that compares values, on a dataset whose targets are class numbers."""

import torch.nn.functional as F
from torch import Tensor, nn


class OneHot(nn.Module):
    """Hands class numbers [B] to `loss` as values [B, classes]: 1 for the class, 0 for the others."""

    def __init__(self, loss: nn.Module, classes: int) -> None:
        super().__init__()
        self.loss, self.classes = loss, classes
        self.reduction = getattr(loss, "reduction", "mean")

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        value: Tensor = self.loss(outputs, F.one_hot(targets, self.classes).to(outputs.dtype))
        return value
