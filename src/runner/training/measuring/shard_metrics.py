"""The metrics of one shard, which stay on the device until they are computed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from runner.dataset.tree import Tree, map_tensors
from runner.training.measuring.metric_set import MetricSet

MOST_NUMBERS, MOST_BATCHES = 1 << 20, 1 << 12  # values and batches to store before they are added to the sums


class ShardMetrics:
    """The loss and the metrics over the samples of a shard since the last reset, whatever the batch sizes.

    The loss and the metrics that are sums are computed in bulk: `update` only stores a batch, and many stored batches
    are added to the sums at once, in as few operations as a single one would need. Other metrics get each batch.

    Args:
        metric_set: metrics of the run.
        device: device of the sums, for which `update` does not wait.
        only_sums: whether to leave out the metrics that are not sums.
    """

    def __init__(self, metric_set: MetricSet, device: torch.device, only_sums: bool = False) -> None:
        self.metric_set = metric_set
        self.others = {} if only_sums else metric_set.others()
        self.earlier: list[Mapping[str, Any]] = []  # states of `others` from the shards of another world size
        size = 2 + sum(metric.size for metric in metric_set.sums.values())
        dtype = torch.float32 if device.type == "mps" else torch.float64
        # The sum of the losses, of the weights, and of each metric's terms.
        self.sums = torch.zeros(size, dtype=dtype, device=device)
        self.counts = [0.0] * size  # the terms that are not on the device
        self.fetch: Callable[[], None] | None = None  # adds the batches that a CUDA graph has stored
        self._losses: list[Tensor] = []  # of the stored batches
        self._weights: list[Tensor] = []
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._waiting = 0  # values in the stored outputs and targets

    def reset(self) -> None:
        """Discard all samples."""
        self.sums.zero_()
        self.counts = [0.0] * len(self.counts)
        for metric in self.others.values():
            metric.reset()
        self.earlier = []
        self._clear()

    def update(self, loss: Tensor, weight: Tensor | int, outputs: Any, targets: Tree) -> None:
        """Add a batch.

        Args:
            loss: loss, summed over what the weight counts.
            weight: weight of the batch in the mean of the loss, such as the number of samples.
            outputs: outputs of the model.
            targets: targets of the batch.
        """
        self._fetch()
        self.update_others(outputs, targets)
        self._losses.append(loss.detach())
        if isinstance(weight, Tensor):
            self._weights.append(weight)
        else:
            self.counts[1] += weight
        if self.metric_set.sums:
            self._store(outputs, self.metric_set.task.compared(targets))
        if self.is_full():
            self._flush()

    def is_full(self, batches: int = 0, numbers: int = 0) -> bool:
        """Return whether the stored batches must be added to the sums.

        Args:
            batches: number of batches that are stored elsewhere.
            numbers: number of values in their outputs and targets.
        """
        return len(self._losses) + batches > MOST_BATCHES or self._waiting + numbers > MOST_NUMBERS

    def extend(self, losses: Tensor, weights: Tensor | int, outputs: Tensor | None, targets: Tensor | None) -> None:
        """Add batches that have been stored elsewhere, as `update` would add one after the other.

        Args:
            losses: summed loss of each batch [N].
            weights: weight of each batch [N], or one that is the same for all.
            outputs: outputs of all batches [N * B, ...]; None if no metric needs them.
            targets: their targets, as the metrics compare them.
        """
        self._losses += losses.unbind()
        if isinstance(weights, Tensor):
            self._weights += weights.unbind()
        else:
            self.counts[1] += weights * len(losses)
        if outputs is not None and targets is not None:
            self._outputs.append(outputs)
            self._targets.append(targets)
            self._waiting += outputs.numel() + targets.numel()
        if self.is_full():
            self._flush()

    def _fetch(self) -> None:
        """Add the batches that a CUDA graph has stored."""
        if self.fetch is not None:
            self.fetch()

    def update_others(self, outputs: Any, targets: Tree) -> None:
        """Add a batch to the metrics that are not sums."""
        if self.others:
            targets = self.metric_set.task.compared(targets)
            for metric in self.others.values():  # which may keep outputs that the next replay of a graph overwrites
                metric.update(map_tensors(lambda tensor: tensor.detach().clone(), outputs), targets)

    def _store(self, outputs: Any, targets: Tree) -> None:
        """Store a batch, or add it to the sums now if it is large or not a pair of tensors."""
        if not self.can_store(outputs, targets):
            if isinstance(outputs, Tensor) and isinstance(targets, Tensor):
                self._flush()
            self._add(map_tensors(Tensor.detach, outputs), targets)
            return
        outputs = outputs.detach()
        if self._outputs and outputs.shape[1:] != self._outputs[0].shape[1:]:  # padded to another length
            self._flush()
        self._outputs.append(outputs.clone())  # may be a view of weights that change, or of a large tensor
        self._targets.append(targets)
        self._waiting += outputs.numel() + targets.numel()

    @staticmethod
    def can_store(outputs: Any, targets: Any) -> bool:
        """Return whether a batch is a pair of tensors that are not too large to be stored."""
        are_tensors = isinstance(outputs, Tensor) and isinstance(targets, Tensor)
        return are_tensors and outputs.numel() + targets.numel() <= MOST_NUMBERS

    def _flush(self) -> None:
        """Add the stored batches to the sums."""
        self._fetch()
        if self._losses:
            self.sums[0] += torch.stack(self._losses).to(self.sums.dtype).sum()
        if self._weights:
            self.sums[1] += torch.stack(self._weights).to(self.sums.dtype).sum()
        if self._outputs:
            self._add(torch.cat(self._outputs), torch.cat(self._targets))
        self._clear()

    def _add(self, outputs: Any, targets: Tree) -> None:
        """Add a batch to the sums of the metrics."""
        terms = [term for metric in self.metric_set.sums.values() for term in metric.terms(outputs, targets)]
        zero = self.sums.new_zeros(())
        self.sums[2:] += torch.stack([t.to(self.sums.dtype) if isinstance(t, Tensor) else zero for t in terms])
        for index, term in enumerate(terms, 2):
            if not isinstance(term, Tensor):
                self.counts[index] += term

    def _clear(self) -> None:
        """Discard the stored batches."""
        self._losses, self._weights, self._outputs, self._targets, self._waiting = [], [], [], [], 0

    def add(self, other: "ShardMetrics") -> None:
        """Add the sums of other metrics."""
        self._flush()
        other._flush()
        self.sums += other.sums
        self.counts = [own + its for own, its in zip(self.counts, other.counts, strict=True)]

    def device_sums(self) -> Tensor:
        """Return the sums on the device, to which `with_counts` adds the others."""
        self._flush()
        return self.sums

    def with_counts(self, sums: Sequence[float]) -> list[float]:
        """Return the sums that have been read from the device, with the terms that are not on it."""
        return [value + count for value, count in zip(sums, self.counts, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """Return the sums, the stored batches and the state of the other metrics, on the CPU.

        The batches are saved as they are: if they were added to the sums earlier than in an undisturbed run, the sums
        would be rounded differently.
        """
        self._fetch()
        waiting = [joined(self._losses, torch.stack), joined(self._weights, torch.stack)]
        waiting += [joined(self._outputs, torch.cat), joined(self._targets, torch.cat)]
        others = map_tensors(Tensor.cpu, self.other_states())
        return {"sums": self.sums.clone().cpu(), "counts": self.counts, "waiting": waiting, "others": others}

    def other_states(self) -> list[Mapping[str, Any]]:
        """Return the state by name of each metric that is not a sum, followed by those of another world size."""
        return [{name: metric.state_dict() for name, metric in self.others.items()}, *self.earlier]

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.reset()
        self.sums.copy_(state["sums"])
        self.counts = list(state["counts"])
        others, *self.earlier = state["others"]
        for name, metric in self.others.items():
            metric.load_state_dict(others[name])
        losses, weights, outputs, targets = (None if t is None else t.to(self.sums.device) for t in state["waiting"])
        self._losses, self._weights = ([] if each is None else list(each.unbind()) for each in (losses, weights))
        if outputs is not None and targets is not None:
            self._outputs, self._targets, self._waiting = [outputs], [targets], outputs.numel() + targets.numel()


def joined(tensors: Sequence[Tensor], join: Any) -> Tensor | None:
    """Return tensors as one, on the CPU; None if there are none."""
    return join(tensors).cpu() if tensors else None
