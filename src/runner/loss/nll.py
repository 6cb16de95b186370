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
    """Negative log-likelihood of log-probabilities and class indices, `torch.nn.NLLLoss`.

    Use it with models that end in log-softmax; together they compute the cross-entropy. For unnormalized outputs
    the loss has no lower bound.

    Args:
        class_counts: number of training samples of each class [K].
        weight: one weight per class, or `balanced` (see `class_weights`).
        reduction: mean and sum are taken over the batch; the mean divides by the sum of the targets' weights.
        ignore_index: class index that is ignored as a target.

    Shapes:
        Input: log-probabilities [B, K].
        Target: class indices [B].
        Output: scalar, or [B] if `reduction` is none.

    Returns:
        The loss module.

    Raises:
        ValueError: the length of `weight` is not the number of classes.
    """
    return nn.NLLLoss(weight=class_weights(weight, class_counts), reduction=reduction, ignore_index=ignore_index)
