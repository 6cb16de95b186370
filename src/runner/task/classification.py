"""Classification: one class for each input."""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from runner.dataset.tree import Tree
from runner.registry import TASKS
from runner.task.base import Task


@TASKS.register("classification")
class Classification(Task):
    """Predict the class of each input: outputs [B, K], class indices [B] as targets.

    Attributes:
        class_dim: dimension of the outputs that holds the classes.
        is_masked: whether targets usually contain `ignore_index`, as padding and unlabelled pixels do.
    """

    fits: ClassVar[tuple[str, ...]] = ("classification",)
    compares: ClassVar[Literal["classes", "values"] | None] = "classes"
    score: ClassVar[str | None] = "accuracy"
    class_dim: ClassVar[int] = 1
    is_masked: ClassVar[bool] = False

    @property
    def ignored(self) -> int:
        """The target that the loss ignores."""
        return int(getattr(self.loss_fn, "ignore_index", -100))

    def weight(self, targets: Tree) -> Tensor | int:
        """Return the divisor of the loss's mean: targets that are not ignored, or the sum of their class weights."""
        weight = getattr(self.loss_fn, "weight", None)
        is_mean = getattr(self.loss_fn, "reduction", "mean") == "mean"  # else, ignored targets count with a loss of 0
        if targets.is_floating_point() or not (is_mean and (self.is_masked or self.ignored >= 0 or weight is not None)):
            return len(targets)  # soft targets of mixup count once each
        if not hasattr(self.loss_fn, "ignore_index"):
            return targets.numel() if self.is_masked else len(targets)
        counted = targets != self.ignored
        if weight is None:
            return counted.sum()
        return (weight[targets.clamp(0, len(weight) - 1)] * counted).sum()

    def metrics(self) -> list[str]:
        return ["accuracy"]

    def out_shape(self) -> tuple[int, ...] | None:
        return (self.spec.out_features,)

    def two_targets(self) -> Tree:
        return torch.zeros(2, dtype=torch.long)

    def class_counts(self, targets: Tree) -> Tensor:
        if not isinstance(targets, Tensor):  # of a task whose targets are more than classes
            return torch.zeros(0)
        known = targets[(targets >= 0) & (targets < self.spec.out_features)]
        return torch.bincount(known.flatten(), minlength=self.spec.out_features)

    def compared(self, targets: Tree) -> Tree:
        """Return class indices [B, ...], also for the soft targets of mixup."""
        return targets.argmax(1) if targets.is_floating_point() else targets

    def predicted(self, outputs: Any) -> Any:
        """Return class indices [B, ...]."""
        return outputs.argmax(self.class_dim)

    def scores(self, outputs: Any) -> Any:
        """Return probabilities [B, K, ...]."""
        return outputs.float().softmax(self.class_dim).movedim(self.class_dim, 1)

    def per_class(self, outputs: Any, targets: Tree) -> dict[str, Tensor]:
        """Return the recall of each class."""
        right = self.class_counts(targets[self.predicted(outputs) == targets])
        return {"recall": right / self.class_counts(targets).clamp(min=1)}

    def answer(self, outputs: Any, inputs: Tree) -> dict[str, Any]:
        """Return the class, its probability, and the probability of each class."""
        probabilities = outputs.softmax(0).tolist()
        best = int(outputs.argmax())
        each = {f"p({name})": value for name, value in zip(self.spec.classes, probabilities, strict=True)}
        return {"class": self.spec.classes[best], "probability": probabilities[best], **each}
