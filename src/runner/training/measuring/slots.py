"""Memory in which a CUDA graph leaves the loss, outputs and targets of its steps for the metrics."""

from typing import Any

import torch
from torch import Tensor

from runner.dataset.tree import Tree
from runner.training.measuring.shard_metrics import ShardMetrics

CAPACITY = 64  # steps


class Slots:
    """Static memory for the batches of some steps, from which the metrics fetch them.

    The metrics get the same batches in the same order as without a graph, and so have the same bits.

    Args:
        metrics: metrics to which the batches are added.
        device: device of the memory.
    """

    def __init__(self, metrics: ShardMetrics, device: torch.device) -> None:
        self.metrics, self.count = metrics, 0
        self.next = torch.zeros((), dtype=torch.long, device=device)
        self.numbers = torch.arange(CAPACITY, device=device)
        self.buffers: list[Tensor] = []  # losses, weights if they are tensors, outputs and targets if they are needed
        self.weight: Tensor | int = 0
        self.values_per_batch = 0  # in the outputs and targets
        metrics.fetch = self.fetch

    @torch.no_grad()
    def put(self, loss: Tensor, weight: Tensor | int, outputs: Any, targets: Tree) -> bool:
        """Store a batch in the next slot with operations on the device only, so that they can be captured.

        Args:
            loss: loss, summed over what the weight counts.
            weight: weight of the batch in the mean of the loss.
            outputs: outputs of the model.
            targets: targets of the batch.

        Returns:
            Whether it is stored; false if the outputs or targets are not tensors, or are too large.
        """
        values = [loss.detach(), *([weight] if isinstance(weight, Tensor) else [])]
        if self.metrics.metric_set.sums:
            targets = self.metrics.metric_set.task.compared(targets)
            if not self.metrics.can_store(outputs, targets):
                return False
            values += [outputs.detach(), targets]
        if not self.buffers:
            self.buffers = [value.new_zeros(CAPACITY, *value.shape) for value in values]
            self.values_per_batch = sum(value.numel() for value in values[-2:]) if self.metrics.metric_set.sums else 0
        is_next = self.numbers == self.next  # `index_copy_` sorts the indices to be deterministic, which takes longer
        for buffer, value in zip(self.buffers, values, strict=True):
            torch.where(is_next.view(-1, *[1] * value.ndim), value, buffer, out=buffer)
        self.next += 1
        self.weight = weight
        return True

    def advance(self) -> None:
        """Count a batch that has been put into a slot; make room if there is none left."""
        self.count += 1
        if self.count == CAPACITY or self.metrics.is_full(self.count, self.count * self.values_per_batch):
            self.fetch()

    def fetch(self) -> None:
        """Add the stored batches to the metrics."""
        count, self.count = self.count, 0
        if count == 0:
            return
        losses, *others = (buffer[:count].clone() for buffer in self.buffers)
        weights: Tensor | int = others.pop(0) if isinstance(self.weight, Tensor) else self.weight
        outputs, targets = (each.flatten(0, 1) for each in others) if others else (None, None)
        self.metrics.extend(losses, weights, outputs, targets)
        self.next.zero_()
