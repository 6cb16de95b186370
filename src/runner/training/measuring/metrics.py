"""The loss and the metrics over all shards and processes."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from runner.dataset.tree import Tree, map_tensors
from runner.machine.distributed import ALONE, World
from runner.metric.base import Metric
from runner.training.measuring.metric_set import MetricSet, named
from runner.training.measuring.shard_metrics import ShardMetrics


class Metrics:
    """The loss and the metrics over all samples since the last reset, whatever the batch sizes and the world size.

    Each shard has its own sums, which `compute` adds in the order of the shards.

    Args:
        metric_set: metrics of the run.
        device: device of the sums. `update` does not wait for it; `compute` does.
        world: processes over whose samples `compute` takes the metrics.
        only_sums: whether to leave out the metrics that are not sums.
    """

    def __init__(
        self, metric_set: MetricSet, device: torch.device, world: World = ALONE, only_sums: bool = False
    ) -> None:
        self.metric_set, self.world = metric_set, world
        self.shards = [ShardMetrics(metric_set, device, only_sums) for _ in world.own_shards]

    @property
    def shard(self) -> ShardMetrics:
        """The metrics of the shard that is being computed."""
        return self.shards[self.world.current]

    def reset(self) -> None:
        """Discard all samples."""
        for shard in self.shards:
            shard.reset()

    def update(self, loss: Tensor, weight: Tensor | int, outputs: Any, targets: Tree) -> None:
        """Add a batch of the current shard; see `ShardMetrics.update`."""
        self.shard.update(loss, weight, outputs, targets)

    def add(self, other: "Metrics") -> None:
        """Add the sums of other metrics."""
        for own, its in zip(self.shards, other.shards, strict=True):
            own.add(its)

    def compute(self) -> dict[str, float]:
        """Return the metrics by name; see `read`."""
        return self.read()[0]

    def read(self, *others: Tensor) -> tuple[dict[str, float], list[float]]:
        """Return the metrics by name, over the samples of all processes, and the values of other scalars.

        There are no metrics if there are no samples. This waits for the device once. All ranks must call it.

        Args:
            others: scalars on the device of the metrics.
        """
        sums = [shard.device_sums() for shard in self.shards]
        also = [other.detach().to(sums[0].dtype).view(1) for other in others]
        values = iter(torch.cat([*sums, *also]).tolist())  # the sums of each shard, then the other scalars
        rows = [shard.with_counts(list(islice(values, len(shard.counts)))) for shard in self.shards]
        return self._named(*self.world.sum_over_shards(rows)), list(values)

    def _named(self, loss: float, weight: float, *terms: float) -> dict[str, float]:
        """Return the metrics by name.

        Args:
            loss: sum of the losses.
            weight: sum of the weights.
            terms: sum of each term of the metrics.
        """
        others = self._others()
        if weight == 0:
            return {}
        values = {"loss": loss / weight}
        for name, metric in self.metric_set.sums.items():
            own, terms = terms[: metric.size], terms[metric.size :]
            values[name] = metric.value(own)
        for name, other in others.items():
            values |= named(name, other.compute())
        known = {name: values[name] for name in self.metric_set.names if name in values}
        return known | values  # a metric may have values that its trial did not show

    def _others(self) -> Mapping[str, Metric]:
        """Return the metrics that are not sums, merged over all shards."""
        first, *others = self.shards
        if not first.others or (self.world.shards == 1 and not first.earlier):
            return first.others
        own = [state for shard in (first, *others) for state in shard.other_states()]
        states = [state for rank in self.world.all_gather(map_tensors(Tensor.cpu, own)) for state in rank]
        metrics = self.metric_set.others()
        for name, metric in metrics.items():
            metric.merge([state[name] for state in states])  # type: ignore[attr-defined]  # checked before the run
        return metrics
