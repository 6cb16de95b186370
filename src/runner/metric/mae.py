"""Mean absolute error."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from runner.metric.base import SumMetric
from runner.registry import METRICS


@METRICS.register("mae")
class MeanAbsoluteError(SumMetric):
    """Mean absolute error over all values of all targets."""

    size = 2

    def terms(self, outputs: Any, targets: Any) -> Sequence[Tensor | int]:
        check_shapes(outputs, targets)
        return (exact(outputs) - exact(targets)).abs().sum(), targets.numel()

    def value(self, sums: Sequence[float]) -> float:
        absolute, numbers = sums
        return absolute / numbers


def check_shapes(outputs: Tensor, targets: Tensor) -> None:
    """Raise ValueError if the outputs and the targets have different shapes, which would be broadcast."""
    if outputs.shape != targets.shape:
        raise ValueError(f"compares values, but outputs have shape {[*outputs.shape]} and targets {[*targets.shape]}")


def exact(values: Tensor) -> Tensor:
    """Return the values in the precision of the sums: float64, which Apple's GPUs do not have."""
    return values.float() if values.device.type == "mps" else values.double()
