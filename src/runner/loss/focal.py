"""Focal loss: cross-entropy that down-weights well-classified samples."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runner.registry import LOSSES


@LOSSES.register("focal", targets="classes")
class Focal(nn.Module):
    """Focal loss, -alpha * (1 - p)^gamma * log(p), where p is the predicted probability of the target class.

    Args:
        class_counts: number of training samples of each class [K].
        gamma: focusing parameter; larger values give well-classified samples less weight, 0 gives cross-entropy.
        alpha: one weight per class.
        reduction: mean and sum are taken over the batch; the mean divides by B, not by the sum of the weights as
            cross_entropy does.

    Shapes:
        Input: logits [B, K].
        Target: class indices [B].
        Output: scalar, or [B] if `reduction` is none.

    Raises:
        ValueError: `gamma` is negative.
        ValueError: the length of `alpha` is not the number of classes.

    Source:
        Lin et al. 2017, "Focal Loss for Dense Object Detection", equations 4 and 5, with softmax in place of sigmoid.
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
            raise ValueError(f"alpha has {len(alpha)} values for {len(class_counts)} classes; give one per class")
        self.gamma, self.reduction = gamma, reduction
        self.register_buffer("alpha", None if alpha is None else torch.tensor(alpha, dtype=torch.float32))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        cross_entropy = F.cross_entropy(outputs, targets, reduction="none")  # -log p
        # 1 - p, clamped away from 0, where the gradient of (1 - p)^gamma is infinite for gamma < 1.
        missing = (-torch.expm1(-cross_entropy)).clamp(min=torch.finfo(cross_entropy.dtype).tiny)
        loss = missing**self.gamma * cross_entropy
        if self.alpha is not None:
            loss = self.alpha[targets] * loss
        if self.reduction == "none":
            return loss
        return loss.sum() if self.reduction == "sum" else loss.mean()
