"""Where raw batches come from: tensors in memory, or worker processes that read sample by sample."""

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

CPU = torch.device("cpu")


class Source(Protocol):
    """One way in: the samples of a split, as raw batches on the device, in the order asked for.

    Of each batch a process gets its share of the world's; of one without a share for it, nothing.

    `draws`: samples are read one by one as they are asked for, by code that may draw random numbers; each is read with
    the global generators seeded by its number in `seeds`, where those are given.
    """

    draws: bool

    def __len__(self) -> int: ...
    def batches(
        self, order: Tensor, size: int, world: World = ALONE, seeds: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]: ...


class InMemory:
    """The whole split as tensors on the device; a batch is one `index_select`.

    Args:
        samples: inputs that are not a tensor are read here, once.
        device: where they stay.
        seed: for the random numbers drawn in reading them.
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
    """Samples read one by one by the worker processes of a DataLoader, ahead of the training."""

    def __init__(self, samples: Samples, device: torch.device, workers: int) -> None:
        self.samples, self.device = samples, device
        self.draws = draws(samples.inputs)
        self.shared = workers > 0 and device.type == "cpu"
        self.plan = _Plan()
        self.loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
            _Readable(samples),
            batch_sampler=self.plan,  # type: ignore[arg-type]  # not a list of indices: torch hands it on as it is
            collate_fn=_as_it_is,  # type: ignore[arg-type]  # what __getitems__ gave, which torch takes for a list
            num_workers=workers,
            worker_init_fn=_outlive_a_signal,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # its own: the global one belongs to the model
        )
        # At exit multiprocessing waits for workers that it has sent one SIGTERM, which they outlive: end them before.
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
            for inputs, targets in self.loader:
                if self.shared:  # targets are kept until they are counted, and a worker's hold a file open each
                    targets = targets.clone()
                yield inputs.to(self.device, non_blocking=True), targets.to(self.device, non_blocking=True)
        except DataError as error:  # a worker's comes wrapped in its traceback, whose last line is the message
            message = str(error).rstrip().rpartition("\n")[2]
            raise DataError(message.removeprefix(f"{DataError.__module__}.{DataError.__name__}: ")) from error


def end_workers(loader: DataLoader[Any]) -> None:
    """End the worker processes of a loader that keeps them."""
    if loader._iterator is not None:
        loader._iterator._shutdown_workers()  # type: ignore[attr-defined]  # torch calls it when the iterator is deleted


def shares(order: Tensor, size: int, world: World) -> list[Tensor]:
    """The samples of each batch that are this process's."""
    parts = map(world.share, order.split(size))
    return [part for part in parts if len(part)]


def draws(inputs: Tensor | Readable) -> bool:
    """Return whether reading an input may draw random numbers: not from a tensor, or where a dataset says so."""
    return not isinstance(inputs, Tensor) and getattr(inputs, "draws", True)


def sample_seeds(samples: int, seed: int | None, number: int) -> Tensor:
    """Return a seed for each sample [N] in a pass over the split, counted from the start of the training."""
    return torch.randint(1 << 62, (samples,), generator=generator(seed or 0, "samples", number))


def read(inputs: Tensor | Readable, indices: Iterable[int], seeds: Iterable[int] | None) -> Tensor:
    """Read some inputs, each with the global random generators seeded for it alone; afterwards these are as before.

    So what a dataset draws is the same for any number of workers, for any batch size, and after a resume.
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


Batch = tuple[list[int], list[int] | None]  # indices of samples, and their seeds


class _Readable(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Gives whole batches, as a DataLoader asks for them where it can: no pair for each sample, nothing to collate."""

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
    """Of a SIGTERM to all processes of a run, which needs this one until it has saved; a second one ends it."""
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))


class _Plan:
    """The batches to come, as the DataLoader's batch sampler."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)
