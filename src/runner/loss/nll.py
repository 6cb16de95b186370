"""Negative log-likelihood, with class weights from the config."""

from typing import Literal

from torch import Tensor, nn

from runner.loss.cross_entropy import class_weights
from runner.registry import LOSSES


@LOSSES.register("nll", targets="classes", takes="log_probabilities")
def nll(
    class_counts: Tensor,
    weight: list[float] | Literal["balanced"] | None = None,
    reduction: Literal["mean", "sum", "none"] = "mean",
    ignore_index: int = -100,
) -> nn.NLLLoss:
    """Negative log-likelihood of log-probabilities [B, K] and class numbers [B]: `torch.nn.NLLLoss`.

    It is for a model that ends in log-softmax, and equals the cross-entropy of what went into that. Of other
    outputs it can be lowered without end.

    Args:
        class_counts: training samples of each class [K].
        weight: a number for each class, or `balanced`.
        reduction: mean and sum are over the batch; the mean divides by the sum of the targets' weights.
        ignore_index: a class number that does not count.

    Raises:
        ValueError: the number of weights is not the number of classes.
    """
    return nn.NLLLoss(weight=class_weights(weight, class_counts), reduction=reduction, ignore_index=ignore_index)
