"""Batches of a split: the order of its samples, normalization and augmentation.

dataset.load() -> split() -> InMemory or Streamed -> Batches.epoch() -> (inputs, targets) on the device
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from runner.data.augment import Augment
from runner.data.sources import Source, sample_seeds
from runner.dataset.base import Spec
from runner.machine.distributed import ALONE, World
from runner.machine.seeds import generator


@dataclass
class Batches:
    """The batches of a split, ready for the model.

    Args:
        source: samples of the split.
        spec: spec of the dataset, with the mean and standard deviation of the inputs.
        size: batch size, at most the size of the split. The last batch of an epoch may be smaller.
        seed: seed of the shuffling, which differs in each pass over the split; None: do not shuffle.
        repeat: number of passes over the split per epoch.
        augment: augmentation of images; needs a seed.
        world: the processes among which each batch is divided.
    """

    source: Source
    spec: Spec
    size: int
    seed: int | None = None
    repeat: int = 1
    augment: Augment | None = None
    world: World = ALONE

    def __post_init__(self) -> None:
        self.size = min(self.size, max(1, len(self.source)))
        shape = (-1, *[1] * (len(self.spec.in_shape) - 1))
        self.mean, self.std = torch.tensor(self.spec.mean).view(shape), torch.tensor(self.spec.std).view(shape)
        self._factors: dict[int, tuple[Tensor, Tensor]] = {}  # cached mean and 1 / std; key 255 for bytes, else 1

    @cached_property
    def samples(self) -> int:
        """Number of samples per epoch."""
        return len(self.source) * self.repeat

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return -(-self.samples // self.size)

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield float32 inputs [B, *in_shape] and targets; they depend only on the seed and the epoch.

        Args:
            epoch: index of the epoch.
            start: index of the first batch.
        """
        if start >= len(self):
            return
        for index, (inputs, targets) in enumerate(self._normalized(epoch, start), start):
            if self.augment is not None and self.seed is not None:
                inputs = self.augment(inputs, generator(self.seed, "augment", epoch, index, *self.world.salt))
            yield inputs, targets

    def _normalized(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch without augmentation."""
        if self.size == len(self.source):
            yield from self._whole_split(epoch, start)
            return
        first, offset = divmod(start * self.size, len(self.source))
        orders = [self._order(epoch * self.repeat + number) for number in range(first, self.repeat)]
        seeds = None
        if self.source.draws:
            numbers = enumerate(orders, epoch * self.repeat + first)
            each = [sample_seeds(len(self.source), self.seed, number)[order] for number, order in numbers]
            seeds = torch.cat(each)[offset:]
        for inputs, targets in self.source.batches(torch.cat(orders)[offset:], self.size, self.world, seeds):
            yield self.normalise(inputs), targets

    def _whole_split(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the whole split as every batch, without shuffling.

        It is fetched only once per epoch, which saves 5% of the time of experiment=parabola.
        """
        seeds = sample_seeds(self.size, self.seed, epoch * self.repeat) if self.source.draws else None
        for raw, targets in self.source.batches(torch.arange(self.size), self.size, self.world, seeds):
            inputs = self.normalise(raw)
            version = inputs._version
            for _ in range(start, len(self)):
                if inputs._version != version:  # the model has modified the inputs in place
                    inputs = self.normalise(raw)
                    version = inputs._version
                yield inputs, targets

    def _order(self, number: int) -> Tensor:
        """Return the order of the samples in a pass over the split.

        Args:
            number: number of earlier passes since the start of training.
        """
        if self.seed is None:
            return torch.arange(len(self.source))
        return torch.randperm(len(self.source), generator=generator(self.seed, "order", number))

    def raw(self, indices: Tensor) -> Tensor:
        """Return the inputs of the given samples [N], not normalized."""
        if len(indices) == 0:
            return torch.empty(0, *self.spec.in_shape)
        seeds = sample_seeds(len(self.source), self.seed, 0)[indices] if self.source.draws else None
        return torch.cat([inputs for inputs, _ in self.source.batches(indices, self.size, seeds=seeds)])

    def normalise(self, inputs: Tensor) -> Tensor:
        """Scale bytes to [0, 1], then all inputs to mean 0 and standard deviation 1."""
        largest = 255 if inputs.dtype == torch.uint8 else 1
        if largest not in self._factors:
            mean, std = (each.to(inputs.device) * largest for each in (self.mean, self.std))
            self._factors[largest] = mean, 1 / std
        mean, factor = self._factors[largest]
        return inputs.sub(mean).mul_(factor)
