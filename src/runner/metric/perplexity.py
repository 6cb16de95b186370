"""Perplexity."""

import math
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from runner.metric.base import SumMetric
from runner.registry import METRICS
from runner.task.base import Task
from runner.task.classification import Classification


@METRICS.register("perplexity", supply={"task": "task"})
class Perplexity(SumMetric):
    """Exponential of the mean negative log-likelihood of the targets, whatever the loss is.

    Args:
        task: task of the run.

    Raises:
        ValueError: the task does not predict classes or tokens.
    """

    size = 2

    def __init__(self, task: Task) -> None:
        if not isinstance(task, Classification):
            raise ValueError("for tasks that predict classes or tokens")
        self.task = task

    def terms(self, outputs: Any, targets: Any) -> Sequence[Tensor | int]:
        logits = outputs.float().movedim(self.task.class_dim, -1).flatten(0, -2)
        total = F.cross_entropy(logits, targets.flatten(), ignore_index=self.task.ignored, reduction="sum")
        return total, (targets != self.task.ignored).sum()

    def value(self, sums: Sequence[float]) -> float:
        total, counted = sums
        if counted == 0:  # all targets are ignored
            return math.nan
        try:
            return math.exp(total / counted)
        except OverflowError:
            return math.inf
