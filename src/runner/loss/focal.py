"""Focal loss: a cross-entropy in which what is already known counts less."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runner.registry import LOSSES


@LOSSES.register("focal", targets="classes")
class Focal(nn.Module):
    """Focal loss of logits [B, K] and class numbers [B]: -alpha * (1 - p)^gamma * log p, p that of the true class.

    Lin et al. 2017, "Focal Loss for Dense Object Detection", equations 4 and 5, with softmax in place of sigmoid.

    Args:
        class_counts: training samples of each class [K].
        gamma: how fast a sample loses weight as its p grows; 0 is cross-entropy.
        alpha: a weight for each class.
        reduction: mean and sum are over the batch; unlike that of cross_entropy, the mean divides by B.

    Raises:
        ValueError: gamma is negative, or the number of weights is not the number of classes.
    """

    alpha: Tensor | None

    def __init__(
        self,
        class_counts: Tensor,
        gamma: float = 2.0,
        alpha: list[float] | None = None,
        reduction: Literal["mean", "sum", "none"] = "mean",
    ) -> None:
        super().__init__()
        if gamma < 0:
            raise ValueError(f"gamma must be at least 0, found {gamma}")
        if alpha is not None and len(alpha) != len(class_counts):
            raise ValueError(f"alpha has {len(alpha)} numbers for {len(class_counts)} classes")
        self.gamma, self.reduction = gamma, reduction
        self.register_buffer("alpha", None if alpha is None else torch.tensor(alpha, dtype=torch.float32))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        cross_entropy = F.cross_entropy(outputs, targets, reduction="none")  # -log p
        # 1 - p, not quite 0: there the slope of its power is infinite for a gamma below 1.
        missing = (-torch.expm1(-cross_entropy)).clamp(min=torch.finfo(cross_entropy.dtype).tiny)
        loss = missing**self.gamma * cross_entropy
        if self.alpha is not None:
            loss = self.alpha[targets] * loss
        if self.reduction == "none":
            return loss
        return loss.sum() if self.reduction == "sum" else loss.mean()
