"""Coefficient of determination."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from runner.metric.base import SumMetric
from runner.metric.mae import check_shapes, exact
from runner.registry import METRICS


@METRICS.register("r2")
class R2(SumMetric):
    """Coefficient of determination over all values of all targets; 1 is perfect, 0 as good as their mean."""

    size = 4

    def terms(self, outputs: Any, targets: Any) -> Sequence[Tensor | int]:
        check_shapes(outputs, targets)
        target = exact(targets)
        return (exact(outputs) - target).square().sum(), target.sum(), target.square().sum(), targets.numel()

    def value(self, sums: Sequence[float]) -> float:
        squared, total, total_squares, numbers = sums
        spread = total_squares - total**2 / numbers
        return 1 - squared / spread if spread > 0 else float(squared == 0)  # constant targets: 1 if predicted exactly
