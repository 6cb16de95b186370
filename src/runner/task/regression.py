"""Regression: values for each input."""

from typing import ClassVar, Literal

from runner.registry import TASKS
from runner.task.base import Task


@TASKS.register("regression")
class Regression(Task):
    """Predict the values [B, F] that belong to each input."""

    fits: ClassVar[tuple[str, ...]] = ("regression",)
    compares: ClassVar[Literal["classes", "values"] | None] = "values"
    score: ClassVar[str | None] = "r2"

    def metrics(self) -> list[str]:
        return ["mae", "r2"]

    def out_shape(self) -> tuple[int, ...] | None:
        return (self.spec.out_features,)
