"""Binary cross-entropy, with positive-class weights from the config."""

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
    """Binary cross-entropy of each output with logits, `torch.nn.BCEWithLogitsLoss`.

    Args:
        class_counts: number of training samples of each class [K], or empty [0] if the dataset has no classes.
        pos_weight: weight of the positive targets: one value per output, or a single one for all outputs.
        reduction: mean and sum are taken over all B * F elements.

    Shapes:
        Input: logits [B, F].
        Target: [B, F], in [0, 1].
        Output: scalar, or [B, F] if `reduction` is none.

    Returns:
        The loss module.

    Raises:
        ValueError: the length of `pos_weight` is neither 1 nor the number of classes.
    """
    if pos_weight is not None and len(class_counts) > 0 and len(pos_weight) not in (1, len(class_counts)):
        raise ValueError(
            f"pos_weight has {len(pos_weight)} values for {len(class_counts)} classes; "
            "give one per class, or a single one for all"
        )
    weight = None if pos_weight is None else torch.tensor(pos_weight, dtype=torch.float32)
    return nn.BCEWithLogitsLoss(pos_weight=weight, reduction=reduction)
