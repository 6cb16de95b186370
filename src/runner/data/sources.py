"""Sources of raw batches: tensors in memory, or DataLoader workers that read one sample at a time."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from runner.dataset.base import Samples
from runner.dataset.tree import Tree, at, bytes_of, is_tree, map_tensors, take, tensors
from runner.errors import DataError
from runner.machine.distributed import ALONE, World
from runner.machine.seeds import generator, restore_rng_state, rng_state, seed_cpu

CPU = torch.device("cpu")
Collate = Callable[[list[tuple[Tree, Tree]]], tuple[Tree, Tree]]


class Source(Protocol):
    """The samples of a split.

    Attributes:
        draws: whether reading a sample may draw random numbers.
        prefetched: whether a thread should prefetch the batches.
        stacks: whether each sample is one row of a batch; a collate function may join samples differently.
    """

    draws: bool
    prefetched: bool
    stacks: bool

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def batches(
        self, order: Tensor, size: int, world: World = ALONE, seeds: Tensor | None = None
    ) -> Iterator[tuple[Tree, Tree]]:
        """Yield the raw inputs and targets of this process's shards of each batch, on the device.

        Empty shards are skipped.

        Args:
            order: indices of the samples [N].
            size: batch size.
            world: the processes among which each batch is divided.
            seeds: seed of the global random generators for each sample [N]; None: do not seed them.
        """
        ...


class InMemory:
    """A split as tensors on the device.

    Args:
        samples: samples of the split. Inputs that are read one at a time are read once, here.
        device: device of the tensors.
        seed: seed of the random numbers that are drawn while reading.
        channels_last: whether inputs with four dimensions, such as images, are in the channels-last memory format.
    """

    draws = False
    prefetched = False
    stacks = True

    def __init__(
        self, samples: Samples, device: torch.device, seed: int | None = None, channels_last: bool = False
    ) -> None:
        everything = range(samples.size)
        inputs, targets = samples.inputs, samples.targets
        if not is_tree(inputs):
            seeds = sample_seeds(samples.size, seed, 0).tolist() if draws(inputs) else None
            inputs = batch_of(inputs, everything, seeds)
        if not is_tree(targets):
            targets = batch_of(targets, everything)
        self.inputs, self.targets = (map_tensors(lambda tensor: tensor.to(device), tree) for tree in (inputs, targets))
        if channels_last:
            self.inputs = map_tensors(in_channels_last, self.inputs)
        self.device, self.size = device, samples.size

    def __len__(self) -> int:
        return self.size

    def batches(
        self, order: Tensor, size: int, world: World = ALONE, seeds: Tensor | None = None
    ) -> Iterator[tuple[Tree, Tree]]:
        for indices in shards(order.to(self.device), size, world):
            yield take(self.inputs, indices), take(self.targets, indices)


def in_channels_last(tensor: Tensor) -> Tensor:
    """Return a tensor [N, C, H, W] in the channels-last memory format; others as they are."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


class Collated:
    """A split in memory whose samples differ in size: each batch is collated when it is needed.

    Args:
        samples: samples of the split. Inputs that are read one at a time are read once, here.
        device: device of the batches.
        collate: function that returns the batch of a list of samples (input, target).
        seed: seed of the random numbers that are drawn while reading.
    """

    draws = False
    prefetched = False
    stacks = False

    def __init__(self, samples: Samples, device: torch.device, collate: Collate, seed: int | None = None) -> None:
        everything = range(samples.size)
        inputs = read(samples.inputs, everything, sample_seeds(samples.size, seed, 0).tolist())
        self.pairs = [(inputs[index], at(samples.targets, index)) for index in everything]
        self.device, self.collate = device, collate

    def __len__(self) -> int:
        return len(self.pairs)

    def batches(
        self, order: Tensor, size: int, world: World = ALONE, seeds: Tensor | None = None
    ) -> Iterator[tuple[Tree, Tree]]:
        for indices in shards(order, size, world):
            batch = self.collate([self.pairs[index] for index in indices.tolist()])
            yield map_tensors(lambda tensor: tensor.to(self.device), batch)


def content(sources: Iterable[Source]) -> str | None:
    """Return a hash of all samples; None if some are not in memory, where reading them all would take too long."""
    digest = hashlib.sha256()
    for source in sources:
        if not isinstance(source, InMemory | Collated):
            return None
        for tensor in tensors(source.pairs if isinstance(source, Collated) else (source.inputs, source.targets)):
            digest.update(bytes_of(tensor))
    return digest.hexdigest()


def shards(order: Tensor, size: int, world: World) -> list[Tensor]:
    """Return this process's shards of each batch, without empty ones."""
    return [part for batch in order.split(size) for part in world.cut(batch) if len(part)]


def draws(inputs: Tree) -> bool:
    """Return whether reading an input may draw random numbers; false for tensors and if `inputs.draws` is false."""
    return not is_tree(inputs) and getattr(inputs, "draws", True)


def sample_seeds(samples: int, seed: int | None, number: int) -> Tensor:
    """Return a seed for each sample [N].

    Args:
        samples: number of samples.
        seed: seed of the run; None counts as 0.
        number: number of earlier passes over the split since the start of training.
    """
    return torch.randint(1 << 62, (samples,), generator=generator(seed or 0, "samples", number))


def stacked(trees: Sequence[Tree]) -> Tree:
    """Return samples as one tree, whose tensors have a batch dimension in front.

    Raises:
        DataError: a sample contains something other than tensors, numbers, arrays and None.
    """
    return map_tensors(lambda *tensors: torch.stack(tensors), *map(_with_tensors, trees))


def _with_tensors(sample: Tree) -> Tree:
    """Return a sample with tensors in place of its numbers and NumPy arrays."""
    if isinstance(sample, Tensor) or sample is None:
        return sample
    if isinstance(sample, int | float | np.ndarray | np.generic):
        return torch.as_tensor(sample)
    if isinstance(sample, dict):
        return {key: _with_tensors(value) for key, value in sample.items()}
    if isinstance(sample, tuple | list):
        values = [_with_tensors(value) for value in sample]
        return type(sample)(*values) if hasattr(sample, "_fields") else type(sample)(values)
    kind = type(sample).__name__
    raise DataError(f"found a {kind} in a sample, expected tensors; to batch it, give the dataset a method `collate`")


def read(inputs: Tree, indices: Iterable[int], seeds: Iterable[int] | None) -> list[Tree]:
    """Read inputs, seeding the global random generators for each one, and restore the generators afterwards.

    The random numbers are the same for any number of workers and any batch size, and after a resume.

    Args:
        inputs: all inputs.
        indices: indices of the inputs to read.
        seeds: seed for each of them; None: do not seed the generators.

    Returns:
        The inputs, one by one.
    """
    if seeds is None or is_tree(inputs):
        return [at(inputs, index) for index in indices]
    before, threads, read_in = rng_state(CPU), torch.get_num_threads(), []
    torch.set_num_threads(1)  # as in a worker: sums, such as the mean of an image, round differently on several
    try:
        for index, seed in zip(indices, seeds, strict=True):
            seed_cpu(seed)
            read_in.append(inputs[index])
    finally:
        torch.set_num_threads(threads)
        restore_rng_state(before, CPU)
    return read_in


def batch_of(values: Tree, indices: Sequence[int], seeds: Sequence[int] | None = None) -> Tree:
    """Return some inputs or targets as one tree, whose tensors have a batch dimension in front.

    Args:
        values: all inputs or targets.
        indices: indices of those to read.
        seeds: seed of the global generators for each of them; None: do not seed the generators.
    """
    if is_tree(values):
        return take(values, torch.tensor(indices))
    if seeds is None and hasattr(values, "take"):
        return values.take(indices)
    return stacked(read(values, indices, seeds))
