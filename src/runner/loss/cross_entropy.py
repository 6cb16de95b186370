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
    """Cross-entropy of logits [B, K] and class numbers [B]: `torch.nn.CrossEntropyLoss`.

    Args:
        class_counts: training samples of each class [K].
        weight: a number for each class, or `balanced`.
        reduction: mean and sum are over the batch; the mean divides by the sum of the targets' weights.
        label_smoothing: share of the target spread over all classes (Szegedy et al. 2016, section 7).
        ignore_index: a class number that does not count.

    Raises:
        ValueError: the number of weights is not the number of classes.
    """
    return nn.CrossEntropyLoss(
        weight=class_weights(weight, class_counts),
        reduction=reduction,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
    )


def class_weights(weight: list[float] | Literal["balanced"] | None, class_counts: Tensor) -> Tensor | None:
    """Weights [K]: as given, or `balanced`: n / (K * count), so that every class counts the same in sum."""
    if weight is None:
        return None
    if weight == "balanced":
        return class_counts.sum() / (len(class_counts) * class_counts.clamp(min=1).float())
    if len(weight) != len(class_counts):
        raise ValueError(f"weight has {len(weight)} numbers for {len(class_counts)} classes")
    return torch.tensor(weight, dtype=torch.float32, device=class_counts.device)
