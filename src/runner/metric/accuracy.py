"""Accuracy."""

from collections.abc import Sequence
from math import nan
from typing import Any

from torch import Tensor

from runner.metric.base import SumMetric
from runner.registry import METRICS
from runner.task.base import Task


@METRICS.register("accuracy", supply={"task": "task"})
class Accuracy(SumMetric):
    """Share of the predictions that equal their targets: classes of inputs, tokens or pixels, or labels.

    Targets that the loss ignores are not counted.

    Args:
        task: task of the run.

    Raises:
        ValueError: the task does not compare classes or labels.
    """

    size = 2

    def __init__(self, task: Task) -> None:
        if task.compares == "values" and task.score != "accuracy":
            raise ValueError("for tasks that compare classes or labels")
        self.task = task
        self.is_masked = getattr(task, "is_masked", False) or getattr(task, "ignored", -1) >= 0

    def terms(self, outputs: Any, targets: Any) -> Sequence[Tensor | int]:
        right = self.task.predicted(outputs) == targets
        if not self.is_masked:
            return right.sum(), targets.numel()
        counted = targets != self.task.ignored  # type: ignore[attr-defined]  # of a task that compares classes
        return (right & counted).sum(), counted.sum()

    def value(self, sums: Sequence[float]) -> float:
        right, counted = sums
        return right / counted if counted > 0 else nan  # all targets are ignored
