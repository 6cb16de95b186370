"""Sources of raw batches: tensors in memory, or DataLoader workers that read one sample at a time."""

import signal
from collections.abc import Iterable, Iterator
from multiprocessing.util import Finalize
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from runner.dataset.base import Readable, Samples
from runner.errors import DataError
from runner.machine.distributed import ALONE, World
from runner.machine.seeds import generator, restore_rng_state, rng_state, seed_cpu
from runner.machine.signals import deferred

CPU = torch.device("cpu")


class Source(Protocol):
    """The samples of a split.

    Attributes:
        draws: whether reading a sample may draw random numbers.
    """

    draws: bool

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def batches(
        self, order: Tensor, size: int, world: World = ALONE, seeds: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this process's share of the raw inputs and targets of each batch, on the device.

        A batch without a sample for this process is skipped.

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
    """

    draws = False

    def __init__(self, samples: Samples, device: torch.device, seed: int | None = None) -> None:
        inputs = samples.inputs
        if not isinstance(inputs, Tensor):
            inputs = read(inputs, range(len(inputs)), sample_seeds(len(inputs), seed, 0).tolist())
        self.inputs, self.targets = inputs.to(device), samples.targets.to(device)

    def __len__(self) -> int:
        return len(self.targets)

    def batches(
        self, order: Tensor, size: int, world: World = ALONE, seeds: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for indices in shares(order.to(self.targets.device), size, world):
            yield self.inputs.index_select(0, indices), self.targets.index_select(0, indices)


class Streamed:
    """A split whose samples are read by the workers of a DataLoader, ahead of their use.

    Args:
        samples: samples of the split.
        device: device of the batches.
        workers: number of worker processes; 0: read in this process.
    """

    def __init__(self, samples: Samples, device: torch.device, workers: int) -> None:
        self.samples, self.device = samples, device
        self.draws = draws(samples.inputs)
        self.shared = workers > 0 and device.type == "cpu"
        self.plan = _Plan()
        self.loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
            _Readable(samples),
            batch_sampler=self.plan,  # type: ignore[arg-type]  # torch passes on a batch as it is, whatever its type
            collate_fn=_as_it_is,  # type: ignore[arg-type]  # torch expects a function of a list
            num_workers=workers,
            worker_init_fn=_outlive_a_signal,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # its own, so that the global one is not used
        )
        # At exit, multiprocessing sends workers a SIGTERM, which they ignore, and waits. Shut them down before that.
        Finalize(self, end_workers, (self.loader,), exitpriority=0)

    def __len__(self) -> int:
        return len(self.samples.targets)

    def batches(
        self, order: Tensor, size: int, world: World = ALONE, seeds: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        order_parts = shares(order, size, world)
        seed_parts = (
            [None] * len(order_parts) if seeds is None else [part.tolist() for part in shares(seeds, size, world)]
        )
        self.plan.batches = [(part.tolist(), own) for part, own in zip(order_parts, seed_parts, strict=True)]
        try:
            with deferred(signal.SIGTERM):  # until the workers that start here can handle it
                batches = iter(self.loader)
            for inputs, targets in batches:
                if self.shared:  # the metrics store targets, and each tensor from a worker keeps a file open
                    targets = targets.clone()
                yield inputs.to(self.device, non_blocking=True), targets.to(self.device, non_blocking=True)
        except DataError as error:  # from a worker, its text is a traceback whose last line is the message
            message = str(error).rstrip().rpartition("\n")[2]
            raise DataError(message.removeprefix(f"{DataError.__module__}.{DataError.__name__}: ")) from error


def end_workers(loader: DataLoader[Any]) -> None:
    """Shut down the persistent workers of a loader."""
    if loader._iterator is not None:
        loader._iterator._shutdown_workers()  # type: ignore[attr-defined]  # what torch calls when the iterator is deleted


def shares(order: Tensor, size: int, world: World) -> list[Tensor]:
    """Return this process's share of each batch, without empty shares."""
    parts = map(world.share, order.split(size))
    return [part for part in parts if len(part)]


def draws(inputs: Tensor | Readable) -> bool:
    """Return whether reading an input may draw random numbers; false for tensors and if `inputs.draws` is false."""
    return not isinstance(inputs, Tensor) and getattr(inputs, "draws", True)


def sample_seeds(samples: int, seed: int | None, number: int) -> Tensor:
    """Return a seed for each sample [N].

    Args:
        samples: number of samples.
        seed: seed of the run; None counts as 0.
        number: number of earlier passes over the split since the start of training.
    """
    return torch.randint(1 << 62, (samples,), generator=generator(seed or 0, "samples", number))


def read(inputs: Tensor | Readable, indices: Iterable[int], seeds: Iterable[int] | None) -> Tensor:
    """Read inputs, seeding the global random generators for each one, and restore the generators afterwards.

    The random numbers are the same for any number of workers and any batch size, and after a resume.

    Args:
        inputs: all inputs.
        indices: indices of the inputs to read.
        seeds: seed for each of them; None: do not seed the generators.

    Returns:
        The inputs [N, *in_shape].
    """
    if seeds is None:
        return torch.stack([inputs[index] for index in indices])
    before, read_in = rng_state(CPU), []
    try:
        for index, seed in zip(indices, seeds, strict=True):
            seed_cpu(seed)
            read_in.append(inputs[index])
    finally:
        restore_rng_state(before, CPU)
    return torch.stack(read_in)


Batch = tuple[list[int], list[int] | None]  # indices and seeds of the samples


class _Readable(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """A dataset that returns whole batches, so that there is nothing to collate."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples.targets)

    def __getitems__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        indices, seeds = batch
        return read(self.samples.inputs, indices, seeds), self.samples.targets[indices]


def _as_it_is(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return batch


def _outlive_a_signal(worker: int) -> None:
    """Ignore the first SIGTERM: the run needs this worker until it has saved. A second one kills it."""
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


class _Plan:
    """A batch sampler that yields the batches assigned to it before each epoch."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)
