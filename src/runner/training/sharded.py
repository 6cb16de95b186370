"""Gradients that have the same bits for 1, 2, 4, ... processes (`trainer.shards`).

Each batch is divided into S shards (of the batch, not of the model as in FSDP), whatever the world size. A shard is
computed alone, with random numbers of its own, and the results are added in one fixed binary tree:

    shard     0   1   2   3
    rank 0    0 + 1   2 + 3          one process adds all
    rank 0    0 + 1                  two processes add their own shards,
    rank 1            2 + 3          then exchange the sums

Floating-point addition rounds, so the order of the sums decides the bits; but a + b = b + a, so partners agree.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from runner.machine.distributed import World
from runner.machine.seeds import derive, seed_everything
from runner.training.engine import Batch, Engine


class TreeSum:
    """Sum of 2^n tensors in a binary tree, of which at most n + 1 are kept."""

    def __init__(self) -> None:
        self.sums: list[tuple[int, Tensor]] = []  # number of tensors in each sum, and the sum

    def add(self, tensor: Tensor) -> None:
        """Add the next tensor, which may be modified later."""
        count = 1
        while self.sums and self.sums[-1][0] == count:
            tensor = self.sums.pop()[1].add_(tensor)
            count *= 2
        self.sums.append((count, tensor))

    @property
    def total(self) -> Tensor:
        """The sum of all tensors."""
        ((_, total),) = self.sums
        return total


class Sharded(Engine):
    """Compute the gradient of a step as the sum over all shards, added in a binary tree.

    Buffers of floating point, such as the running statistics of batch normalization, become the mean over the shards,
    each of which starts from their values before the step.

    Args:
        model: model of the run.
        forward: function that calls it.
        world: processes of the run.
        seed: seed of the run.
    """

    def __init__(self, model: nn.Module, forward: Callable[..., Any], world: World, seed: int) -> None:
        super().__init__(forward)
        self.world, self.seed = world, seed
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.model = model
        self.sum = TreeSum()
        self.has_gradient = [False] * len(self.parameters)  # in any shard of this rank

    @property
    def float_buffers(self) -> list[Tensor]:
        """The buffers of floating point; read each time, because a model may replace a buffer."""
        return [buffer for buffer in self.model.buffers() if buffer.is_floating_point() or buffer.is_complex()]

    def micro_batches(self, batches: Iterable[Batch], step: int) -> Iterator[Batch]:
        """Yield the micro-batches of one shard after the other; see `Engine.micro_batches`."""
        self.sum, self.has_gradient = TreeSum(), [False] * len(self.parameters)
        batches = list(batches)
        before = [buffer.clone() for buffer in self.model.buffers()]
        for index, shard in enumerate(self.world.own_shards):
            self.world.current = index
            seed_everything(derive(self.seed, "step", step, shard))
            for buffer, value in zip(self.model.buffers(), before, strict=True):
                buffer.data.copy_(value)
            yield from batches[index :: len(self.world.own_shards)]
            self.sum.add(self.pack())
        self.world.current = 0

    @torch.no_grad()
    def pack(self) -> Tensor:
        """Move the gradients of a shard and its buffers into one tensor, after a 1 for each gradient it has."""
        grads = [parameter.grad for parameter in self.parameters]
        parts = [torch.zeros_like(p) if grad is None else grad for p, grad in zip(self.parameters, grads, strict=True)]
        counts = torch.tensor([grad is not None for grad in grads], dtype=torch.float32, device=parts[0].device)
        self.has_gradient = [had or grad is not None for had, grad in zip(self.has_gradient, grads, strict=True)]
        for parameter in self.parameters:
            parameter.grad = None
        buffers = [flatten(buffer) / self.world.shards for buffer in self.float_buffers]
        return torch.cat([counts, *map(flatten, parts), *buffers])

    @torch.no_grad()
    def combine_gradients(self) -> None:
        """Set the gradients and the buffers to the combined values of all shards."""
        total = self.world.tree_all_reduce(self.sum.total)
        count, buffers = len(self.parameters), self.float_buffers
        everything = [*self.parameters, *buffers]
        sizes = [2 * tensor.numel() if tensor.is_complex() else tensor.numel() for tensor in everything]
        counts, *parts = total.split([count, *sizes])  # `counts`: number of shards that have each gradient
        # Reading `counts` waits for the device, and is not needed if this rank alone has all gradients.
        in_any_shard = self.has_gradient if all(self.has_gradient) else counts.tolist()
        for parameter, part, exists in zip(self.parameters, parts[:count], in_any_shard, strict=True):
            parameter.grad = unflatten(part, parameter) if exists else None  # not zero, which would apply weight decay
        for buffer, part in zip(buffers, parts[count:], strict=True):
            buffer.copy_(unflatten(part, buffer))


def flatten(tensor: Tensor) -> Tensor:
    """Return the real numbers of a tensor as a vector."""
    return (torch.view_as_real(tensor) if tensor.is_complex() else tensor).flatten()


def unflatten(vector: Tensor, like: Tensor) -> Tensor:
    """Return a vector of real numbers as a tensor with the shape, type and memory format of another one."""
    result = torch.empty_like(like)
    (torch.view_as_real(result) if result.is_complex() else result).copy_(
        vector.view(torch.view_as_real(result).shape if result.is_complex() else result.shape)
    )
    return result
