"""Multi-label classification: any number of classes for each input."""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from runner.dataset.tree import Tree
from runner.registry import TASKS
from runner.task.base import Task


@TASKS.register("multilabel")
class Multilabel(Task):
    """Predict which of K classes apply to each input: outputs [B, K] are logits, targets [B, K] are 0 or 1."""

    fits: ClassVar[tuple[str, ...]] = ("multilabel",)
    compares: ClassVar[Literal["classes", "values"] | None] = "values"
    score: ClassVar[str | None] = "accuracy"

    def metrics(self) -> list[str]:
        return ["accuracy"]

    def out_shape(self) -> tuple[int, ...] | None:
        return (self.spec.out_features,)

    def class_counts(self, targets: Tree) -> Tensor:
        return targets.sum(0)

    def compared(self, targets: Tree) -> Tree:
        """Return the targets as integers [B, K]."""
        return targets.long()

    def predicted(self, outputs: Any) -> Any:
        """Return 1 for each class whose probability is above one half, else 0."""
        return (outputs > 0).long()

    def scores(self, outputs: Any) -> Any:
        """Return probabilities [B, K]."""
        return outputs.float().sigmoid()

    def per_class(self, outputs: Any, targets: Tree) -> dict[str, Tensor]:
        """Return the F1 score of each class."""
        found, true = self.predicted(outputs), self.compared(targets)
        return {"F1": 2 * (found & true).sum(0) / (found.sum(0) + true.sum(0)).clamp(min=1)}

    def answer(self, outputs: Any, inputs: Tree) -> dict[str, Any]:
        """Return the classes whose probability is at least one half, and the probability of each class."""
        probabilities = torch.as_tensor(outputs).sigmoid().tolist()
        pairs = list(zip(self.spec.classes, probabilities, strict=True))
        labels = " ".join(name for name, probability in pairs if probability >= 0.5)
        return {"classes": labels, **{f"p({name})": probability for name, probability in pairs}}
