"""Cross-entropy, with class weights from the config."""

from typing import Literal

import torch
from torch import Tensor, nn

from runner.registry import LOSSES


@LOSSES.register("cross_entropy", targets="classes")
def cross_entropy(
    class_counts: Tensor,
    weight: list[float] | Literal["balanced"] | None = None,
    reduction: Literal["mean", "sum", "none"] = "mean",
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
) -> nn.CrossEntropyLoss:
    """Cross-entropy of logits and class indices, `torch.nn.CrossEntropyLoss`.

    Args:
        class_counts: number of training samples of each class [K].
        weight: one weight per class, or `balanced` (see `class_weights`).
        reduction: mean and sum are taken over the batch; the mean divides by the sum of the targets' weights.
        label_smoothing: share of the target distribution that is spread evenly over all classes.
        ignore_index: class index that is ignored as a target.

    Shapes:
        Input: logits [B, K].
        Target: class indices [B].
        Output: scalar, or [B] if `reduction` is none.

    Returns:
        The loss module.

    Raises:
        ValueError: the length of `weight` is not the number of classes.

    Source:
        Label smoothing: Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision", section 7.
    """
    return nn.CrossEntropyLoss(
        weight=class_weights(weight, class_counts),
        reduction=reduction,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
    )


def class_weights(weight: list[float] | Literal["balanced"] | None, class_counts: Tensor) -> Tensor | None:
    """Return the weight of each class.

    Args:
        weight: one weight per class, or `balanced`: n / (K * count) for n training samples, so that all classes
            have the same total weight.
        class_counts: number of training samples of each class [K].

    Returns:
        Weights [K], or None if `weight` is None.

    Raises:
        ValueError: the length of `weight` is not the number of classes.
    """
    if weight is None:
        return None
    if weight == "balanced":
        return class_counts.sum() / (len(class_counts) * class_counts.clamp(min=1).float())
    if len(weight) != len(class_counts):
        raise ValueError(f"weight has {len(weight)} values for {len(class_counts)} classes; give one per class")
    return torch.tensor(weight, dtype=torch.float32, device=class_counts.device)
