"""How the gradient of a step is computed from its micro-batches: in one process, or in several."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from runner.dataset.tree import Tree
from runner.machine.distributed import World

Batch = tuple[Tree, Tree]  # inputs and targets


class Engine:
    """Compute the gradient of a step in a single process: autograd accumulates those of the micro-batches.

    Attributes:
        forward: function that calls the model.
        gradient_scale: factor of each loss, which cancels the averaging of gradients by DistributedDataParallel.
    """

    gradient_scale = 1

    def __init__(self, forward: Callable[..., Any]) -> None:
        self.forward = forward

    def micro_batches(self, batches: Iterable[Batch], step: int) -> Iterator[Batch]:
        """Yield the micro-batches of a step for forward and backward passes.

        Args:
            batches: micro-batches of the step on this rank: for each batch, the shards of this rank.
            step: index of the step.
        """
        return iter(batches)

    def combine_gradients(self) -> None:
        """Combine the gradients of all shards, after the last backward pass of a step; nothing to do by default."""


class DataParallel(Engine):
    """Compute the gradient of a step in several processes, with DistributedDataParallel.

    Gradients are all-reduced during the backward pass of the last micro-batch.

    Args:
        forward: the model, compiled or not.
        world: processes of the run.
        finds_unused: whether some parameters may get no gradient; if not, a search in each step is saved.
    """

    def __init__(self, forward: nn.Module, world: World, finds_unused: bool) -> None:
        self.parallel = DistributedDataParallel(
            forward, find_unused_parameters=finds_unused, gradient_as_bucket_view=True
        )
        self.gradient_scale = world.size  # DistributedDataParallel takes the mean over the ranks
        super().__init__(self.parallel)

    def micro_batches(self, batches: Iterable[Batch], step: int) -> Iterator[Batch]:
        remaining = iter(batches)
        current = next(remaining)
        for following in remaining:
            with self.parallel.no_sync():
                yield current
            current = following
        yield current
