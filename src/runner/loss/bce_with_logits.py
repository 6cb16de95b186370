"""Binary cross-entropy of each output on its own, with weights from the config."""

from typing import Literal

import torch
from torch import Tensor, nn

from runner.registry import LOSSES


@LOSSES.register("bce_with_logits", targets="values")
def bce_with_logits(
    class_counts: Tensor,
    pos_weight: list[float] | None = None,
    reduction: Literal["mean", "sum", "none"] = "mean",
) -> nn.BCEWithLogitsLoss:
    """Binary cross-entropy of logits [B, F] and targets [B, F] in [0, 1]: `torch.nn.BCEWithLogitsLoss`.

    Args:
        class_counts: training samples of each class [K], empty [0] where there are no classes.
        pos_weight: how much the ones of each output count beside its zeros: a number for each output, or one for all.
        reduction: mean and sum are over the numbers of the batch, B * F.

    Raises:
        ValueError: the number of weights is neither 1 nor the number of classes.
    """
    if pos_weight is not None and len(class_counts) > 0 and len(pos_weight) not in (1, len(class_counts)):
        raise ValueError(f"pos_weight has {len(pos_weight)} numbers for {len(class_counts)} classes")
    weight = None if pos_weight is None else torch.tensor(pos_weight, dtype=torch.float32)
    return nn.BCEWithLogitsLoss(pos_weight=weight, reduction=reduction)
