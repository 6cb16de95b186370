"""Batches of a split: the order of its samples, normalization and augmentation.

dataset.load() -> split() -> InMemory or Streamed -> Batches.epoch() -> (inputs, targets) on the device
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch
from torch import Tensor

from runner.data.augment import Augment, alternating
from runner.data.mix import Mix
from runner.data.prefetch import prefetch
from runner.data.sources import InMemory, Source, sample_seeds, shards
from runner.dataset.base import Spec
from runner.dataset.tree import Tree, take, tensors
from runner.machine.device import copy_to
from runner.machine.distributed import ALONE, World
from runner.machine.seeds import derive, generator, seed_everything


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
        mix: mixup or CutMix of images and class targets; needs a seed.
        prepare: function of the task that returns inputs and targets as the model and the loss take them.
        world: the processes among which the shards of each batch are divided.
    """

    source: Source
    spec: Spec
    size: int
    seed: int | None = None
    repeat: int = 1
    augment: Augment | None = None
    mix: Mix | None = None
    prepare: Callable[[Tree, Tree], tuple[Tree, Tree]] | None = None
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

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[tuple[Tree, Tree]]:
        """Yield inputs, such as float32 [B, *in_shape], and targets; they depend only on the seed and the epoch.

        Each batch is yielded as this rank's shards of it, of which the last batch may have fewer.

        Args:
            epoch: index of the epoch.
            start: index of the first batch.
        """
        if start >= len(self):
            return
        first_shard = start * len(self.world.own_shards)
        for number, (inputs, targets, drawn) in enumerate(self._normalized(epoch, start), first_shard):
            salt = self._salt(epoch, number)
            if self.world.is_sharded:  # otherwise, each rank has its own global random state
                seed_everything(derive(self.seed or 0, "prepare", *salt))
            if self.augment is not None and drawn is not None:
                inputs = self.augment.apply(inputs, copy_to(drawn, inputs.device))
            if self.mix is not None and self.seed is not None:
                inputs, targets = self.mix(inputs, targets, generator(self.seed, "mix", *salt))
            yield (inputs, targets) if self.prepare is None else self.prepare(inputs, targets)

    def plan(self, epoch: int) -> tuple[Tensor, Tensor | None]:
        """Return the samples of an epoch in order [samples], and what the augmentation does with each [samples, K].

        With these, `samples_at` returns the batches that `epoch` yields. For a single process, without shards.

        Args:
            epoch: index of the epoch.
        """
        numbers = range(epoch * self.repeat, (epoch + 1) * self.repeat)
        is_whole = self.size == len(self.source)
        order = torch.cat([torch.arange(self.size) if is_whole else self._order(number) for number in numbers])
        if self.augment is None or self.seed is None:
            return order, None
        mirrored, drawn = self._mirrored(epoch, 0), []
        for number, batch in enumerate(order.split(self.size)):
            shape = (len(batch), *self.spec.in_shape)
            drawn.append(self.augment.draw(shape, generator(self.seed, "augment", epoch, number), next(mirrored, None)))
        return order, torch.cat(drawn)

    def samples_at(self, indices: Tensor, drawn: Tensor | None) -> tuple[Tree, Tree]:
        """Return a batch of samples in memory, as `epoch` yields it, with operations on the device only.

        Args:
            indices: indices of the samples [B], on the device.
            drawn: what the augmentation does with each of them [B, K], on the device; None: no augmentation.
        """
        source = cast(InMemory, self.source)
        inputs, targets = self.normalize(take(source.inputs, indices)), take(source.targets, indices)
        if self.augment is not None and drawn is not None:
            inputs = self.augment.apply(cast(Tensor, inputs), drawn)
        return (inputs, targets) if self.prepare is None else self.prepare(inputs, targets)

    def _salt(self, epoch: int, number: int) -> tuple[int, ...]:
        """Return what distinguishes the random generators of a shard from those of the others.

        Args:
            epoch: index of the epoch.
            number: index of the shard among all shards of this rank in the epoch.
        """
        own = self.world.own_shards
        shard = own[number % len(own)]
        return (epoch, number // len(own), *([shard] if shard else []))  # shard 0: as a batch that is not divided

    def _normalized(self, epoch: int, start: int) -> Iterator[tuple[Tree, Tree, Tensor | None]]:
        """Yield normalized batches, and what the augmentation does with each; None: no augmentation."""
        if self.size == len(self.source):
            yield from self._with_augmentation(self._whole_split(epoch, start), epoch, start)
            return
        batches = self._with_augmentation(self._read(epoch, start), epoch, start)
        # On a CPU, `normalize` uses all cores, which it would take from the model if it were prefetched as well.
        for inputs, targets, drawn in prefetch(batches) if self.source.prefetched else batches:
            yield self.normalize(inputs), targets, drawn

    def _with_augmentation(
        self, batches: Iterable[tuple[Tree, Tree]], epoch: int, start: int
    ) -> Iterator[tuple[Tree, Tree, Tensor | None]]:
        """Yield batches, and what the augmentation does with each, as `Augment.apply` takes it."""
        mirrored = self._mirrored(epoch, start)
        for number, (inputs, targets) in enumerate(batches, start * len(self.world.own_shards)):
            drawn = None
            if self.augment is not None and self.seed is not None:
                random = generator(self.seed, "augment", *self._salt(epoch, number))
                drawn = self.augment.draw(inputs.shape, random, next(mirrored, None))
            yield inputs, targets, drawn

    def _mirrored(self, epoch: int, start: int) -> Iterator[Tensor]:
        """Yield which images of each batch an alternating flip flips; nothing for other flips."""
        if self.augment is None or self.augment.flip != "alternating" or self.seed is None:
            return
        numbers = range(epoch * self.repeat, (epoch + 1) * self.repeat)
        each = [alternating(len(self.source), self.seed, number) for number in numbers]
        if self.size < len(self.source):  # otherwise each batch is the whole split, in its own order
            each = [mask[self._order(number)] for number, mask in zip(numbers, each, strict=True)]
        yield from shards(torch.cat(each)[start * self.size :], self.size, self.world)

    def _read(self, epoch: int, start: int) -> Iterator[tuple[Tree, Tree]]:
        """Return the batches of an epoch as the source reads them."""
        first, offset = divmod(start * self.size, len(self.source))
        orders = [self._order(epoch * self.repeat + number) for number in range(first, self.repeat)]
        seeds = None
        if self.source.draws:
            numbers = enumerate(orders, epoch * self.repeat + first)
            each = [sample_seeds(len(self.source), self.seed, number)[order] for number, order in numbers]
            seeds = torch.cat(each)[offset:]
        return self.source.batches(torch.cat(orders)[offset:], self.size, self.world, seeds)

    def _whole_split(self, epoch: int, start: int) -> Iterator[tuple[Tree, Tree]]:
        """Yield the whole split as every batch, normalized, without shuffling.

        It is fetched only once per epoch, which saves 5% of the time of experiment=parabola.
        """
        seeds = sample_seeds(self.size, self.seed, epoch * self.repeat) if self.source.draws else None
        batch: list[tuple[Tree, Tree]] = []
        held: list[Tensor] = []  # its tensors
        as_read: list[int] = []  # their versions
        for _ in range(start, len(self)):
            if not batch or versions(held) != as_read:  # the model or the loss has modified the batch in place
                parts = self.source.batches(torch.arange(self.size), self.size, self.world, seeds)
                batch = [(self.normalize(inputs), targets) for inputs, targets in parts]
                held = tensors(batch)
                as_read = versions(held)
            yield from batch

    def _order(self, number: int) -> Tensor:
        """Return the order of the samples in a pass over the split.

        Args:
            number: number of earlier passes since the start of training.
        """
        if self.seed is None:
            return torch.arange(len(self.source))
        return torch.randperm(len(self.source), generator=generator(self.seed, "order", number))

    def raw(self, indices: Tensor) -> Tree:
        """Return the inputs of the given samples [N], not normalized."""
        if len(indices) == 0:
            return torch.empty(0, *self.spec.in_shape)
        seeds = sample_seeds(len(self.source), self.seed, 0)[indices] if self.source.draws else None
        ((inputs, _),) = self.source.batches(indices, len(indices), seeds=seeds)
        return inputs

    def first(self, count: int) -> tuple[Tree, Tree]:
        """Return the first samples of the split as a batch, not augmented."""
        count = min(count, len(self.source))
        seeds = sample_seeds(len(self.source), self.seed, 0)[:count] if self.source.draws else None
        ((inputs, targets),) = self.source.batches(torch.arange(count), count, seeds=seeds)
        inputs = self.normalize(inputs)
        return (inputs, targets) if self.prepare is None else self.prepare(inputs, targets)

    def normalize(self, inputs: Tree) -> Tree:
        """Scale bytes to [0, 1], then all inputs to mean 0 and standard deviation 1.

        Other integers, such as tokens, and tuples and dicts are returned as they are.
        """
        if not isinstance(inputs, Tensor) or not (inputs.is_floating_point() or inputs.dtype == torch.uint8):
            return inputs
        largest = 255 if inputs.dtype == torch.uint8 else 1
        if largest not in self._factors:
            mean, std = (each.to(inputs.device) * largest for each in (self.mean, self.std))
            self._factors[largest] = mean, 1 / std
        mean, factor = self._factors[largest]
        return inputs.sub(mean).mul_(factor)


def versions(each: list[Tensor]) -> list[int]:
    """Return a number for each tensor, which changes when the tensor is modified in place."""
    return [tensor._version for tensor in each]
