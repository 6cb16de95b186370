"""Batches of samples that DataLoader workers prefetch."""

import signal
from collections.abc import Iterator
from multiprocessing.util import Finalize
from threading import Lock
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, _utils

from runner.data.sources import Collate, batch_of, draws, read, shards
from runner.dataset.base import Samples
from runner.dataset.tree import Tree, at, map_tensors
from runner.errors import DataError, from_worker
from runner.machine.device import copy_to
from runner.machine.distributed import ALONE, World
from runner.machine.signals import deferred

BatchPlan = tuple[list[int], list[int] | None]  # indices and seeds of the samples


class Streamed:
    """A split whose samples are prefetched by the workers of a DataLoader.

    Args:
        samples: samples of the split.
        device: device of the batches.
        workers: number of worker processes; 0: read in this process.
        collate: function that returns the batch of a list of samples (input, target); None: stack them.
    """

    def __init__(self, samples: Samples, device: torch.device, workers: int, collate: Collate | None = None) -> None:
        self.samples, self.device = samples, device
        self.draws = draws(samples.inputs)
        self.prefetched = workers > 0 and device.type != "mps"  # whose backend is for one thread at a time
        self.stacks = collate is None
        self.shared = workers > 0 and device.type == "cpu"
        self.passes = 0
        self.lock = Lock()  # after an early end, the thread may still wait for a batch when the next pass begins
        self.plan = _Plan()
        self.loader: DataLoader[tuple[Tree, Tree]] = DataLoader(
            _Readable(samples, collate),
            batch_sampler=self.plan,  # type: ignore[arg-type]  # torch passes on a batch as it is, whatever its type
            collate_fn=_as_it_is,  # type: ignore[arg-type]  # torch expects a function of a list
            num_workers=workers,
            worker_init_fn=_outlive_a_signal,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # its own, so that the global one is not used
        )
        # At exit, multiprocessing closes the queues that tell workers to end (priority 10), then sends the workers a
        # SIGTERM, which they ignore, and waits. Shut them down before that.
        Finalize(self, end_workers, (self.loader,), exitpriority=20)

    def __len__(self) -> int:
        return self.samples.size

    def batches(
        self, order: Tensor, size: int, world: World = ALONE, seeds: Tensor | None = None
    ) -> Iterator[tuple[Tree, Tree]]:
        order_parts = shards(order, size, world)
        seed_parts = (
            [None] * len(order_parts) if seeds is None else [part.tolist() for part in shards(seeds, size, world)]
        )
        self.plan.batches = [(part.tolist(), own) for part, own in zip(order_parts, seed_parts, strict=True)]
        try:
            with self.lock, deferred(signal.SIGTERM):  # until the workers that start here can handle it
                self.passes += 1
                number, batches = self.passes, iter(self.loader)
            while (batch := self._next(batches, number)) is not None:
                inputs, targets = batch
                if self.shared:  # the metrics store targets, and each tensor from a worker keeps a file open
                    targets = map_tensors(Tensor.clone, targets)
                yield map_tensors(self._to_device, (inputs, targets))
        except DataError as error:
            raise from_worker(error) from error

    def _next(self, batches: Iterator[tuple[Tree, Tree]], number: int) -> tuple[Tree, Tree] | None:
        """Return the next batch of a pass, or None at its end.

        Raises:
            RuntimeError: another pass has begun, which uses the same workers.
        """
        with self.lock:
            if number != self.passes:
                raise RuntimeError("another pass over the split has begun")
            return next(batches, None)

    def _to_device(self, tensor: Tensor) -> Tensor:
        return copy_to(tensor, self.device)


def end_workers(loader: DataLoader[Any]) -> None:
    """Shut down the persistent workers of a loader.

    At the exit of the program, torch would leave them to the SIGTERM of multiprocessing, which they ignore.
    """
    if loader._iterator is None:
        return
    exiting, _utils.python_exit_status = _utils.python_exit_status, False
    try:
        loader._iterator._shutdown_workers()  # type: ignore[attr-defined]  # what torch calls when the iterator is deleted
    finally:
        _utils.python_exit_status = exiting


class _Readable(torch.utils.data.Dataset[tuple[Tree, Tree]]):
    """A dataset that returns whole batches."""

    def __init__(self, samples: Samples, collate: Collate | None) -> None:
        self.samples, self.collate = samples, collate

    def __len__(self) -> int:
        return self.samples.size

    def __getitems__(self, batch: BatchPlan) -> tuple[Tree, Tree]:
        indices, seeds = batch
        inputs, targets = self.samples.inputs, self.samples.targets
        if self.collate is not None:
            each = read(inputs, indices, seeds)
            return self.collate([(value, at(targets, index)) for value, index in zip(each, indices, strict=True)])
        return batch_of(inputs, indices, seeds), batch_of(targets, indices)


def _as_it_is(batch: tuple[Tree, Tree]) -> tuple[Tree, Tree]:
    return batch


def _outlive_a_signal(worker: int) -> None:
    """Ignore the first SIGTERM: the run needs this worker until it has saved. A second one kills it."""
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


class _Plan:
    """A batch sampler that yields the batches assigned to it before each epoch."""

    def __init__(self) -> None:
        self.batches: list[BatchPlan] = []

    def __iter__(self) -> Iterator[BatchPlan]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)
