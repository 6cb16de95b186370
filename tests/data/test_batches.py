import os
import random
import signal
import subprocess
import sys
import threading
import time
from itertools import chain
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import numbered
from runner.data import sources as sources_module
from runner.data.batches import Batches
from runner.data.sources import InMemory, Source, Streamed
from runner.dataset import Samples, Spec
from runner.machine.seeds import seed_everything

CPU = torch.device("cpu")
SPEC = Spec("classification", in_shape=(2,), out_features=3, mean=(0.5,), std=(2.0,))


def sources(samples: Samples) -> list[Source]:
    return [InMemory(samples, CPU), Streamed(samples, CPU, workers=0), Streamed(samples, CPU, workers=2)]


def test_all_sources_give_equal_batches_for_any_number_of_workers() -> None:
    runs = [
        [batch for epoch in range(2) for batch in Batches(source, SPEC, 8, seed=1).epoch(epoch)]
        for source in sources(numbered(50))
    ]
    for other in runs[1:]:
        assert len(other) == len(runs[0]) == 14
        for (inputs, targets), (same_inputs, same_targets) in zip(runs[0], other, strict=True):
            assert torch.equal(inputs, same_inputs)
            assert torch.equal(targets, same_targets)


def order(batches: Batches, epoch: int, start: int = 0) -> list[list[int]]:
    return [(inputs[:, 0] * 2 + 0.5).int().tolist() for inputs, _ in batches.epoch(epoch, start)]


def test_order_depends_only_on_seed_and_epoch() -> None:
    one, same, other = (Batches(InMemory(numbered(50), CPU), SPEC, 8, seed=seed) for seed in (1, 1, 2))
    torch.manual_seed(5)
    first = order(one, 0)
    torch.manual_seed(6)
    assert order(same, 0) == first
    assert sorted(chain(*first)) == list(range(50))
    assert order(one, 1) != first
    assert order(other, 0) != first


@pytest.mark.parametrize("kind", range(3))
def test_epoch_can_start_at_any_batch(kind: int) -> None:
    batches = Batches(sources(numbered(20))[kind], SPEC, 8, seed=1)
    assert len(batches) == 3
    whole = order(batches, 4)
    assert [order(batches, 4, start) for start in range(4)] == [whole, whole[1:], whole[2:], []]


def test_samples_are_not_shuffled_without_a_seed() -> None:
    assert order(Batches(InMemory(numbered(20), CPU), SPEC, 8), 3) == [
        list(range(8)),
        list(range(8, 16)),
        list(range(16, 20)),
    ]


def test_streaming_does_not_use_the_global_generators() -> None:
    torch.manual_seed(0)
    list(Batches(Streamed(numbered(20), CPU, workers=0), SPEC, 8, seed=1).epoch())
    drawn_after = torch.rand(1)
    torch.manual_seed(0)
    assert drawn_after == torch.rand(1)


class Noisy:
    """Inputs whose `__getitem__` draws from all global random generators."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([random.random(), float(np.random.rand()) + float(torch.rand(()))])


def noisy(samples: int = 12) -> Samples:
    return Samples(Noisy(samples), torch.arange(samples) % 3)


def drawn(source: Source, seed: int | None, size: int = 4, epoch: int = 1, start: int = 0) -> torch.Tensor:
    batches = Batches(source, SPEC, size, seed=seed, repeat=2)
    return torch.cat([inputs for inputs, _ in batches.epoch(epoch, start)])


def test_random_draws_of_a_dataset_depend_only_on_seed_epoch_and_sample() -> None:
    streamed = [Streamed(noisy(), CPU, workers) for workers in (0, 1, 2)]
    first = drawn(streamed[0], seed=1)
    assert len(first.unique(dim=0)) == 24
    for source in streamed:
        assert torch.equal(drawn(source, seed=1), first)
        assert torch.equal(drawn(source, seed=1, start=4), first[16:])  # in the second pass, as after a resume
        assert not torch.equal(drawn(source, seed=2), first)
        assert not torch.equal(drawn(source, seed=1, epoch=2), first)
        assert torch.equal(drawn(source, seed=1, size=3), first)
    whole = drawn(streamed[0], seed=1, size=12)  # in the order of the split
    assert torch.equal(whole, drawn(streamed[2], seed=1, size=12))


def test_random_draws_of_a_dataset_are_fixed_in_evaluation() -> None:
    samples = noisy()
    for source in (InMemory(samples, CPU), Streamed(samples, CPU, 0), Streamed(samples, CPU, 1)):
        batches = Batches(source, SPEC, 5)
        once, twice = (torch.cat([inputs for inputs, _ in batches.epoch(epoch)]) for epoch in (0, 0))
        assert torch.equal(once, twice)
        assert torch.equal(batches.normalise(batches.raw(torch.tensor([7, 3]))), once[[7, 3]])
    assert not torch.equal(InMemory(samples, CPU, seed=1).inputs, InMemory(samples, CPU, seed=2).inputs)


def test_reading_samples_restores_the_global_generators() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    seed_everything(3)
    expected = draw()
    seed_everything(3)
    drawn(Streamed(noisy(), CPU, 0), seed=1)
    InMemory(noisy(), CPU)
    assert draw() == expected


def test_targets_from_workers_keep_no_files_open() -> None:
    batches = Batches(Streamed(numbered(20), CPU, workers=1), SPEC, 1, seed=1)
    assert not any(targets.is_shared() for _, targets in batches.epoch())


def test_bytes_are_scaled_and_normalized_per_channel() -> None:
    spec = Spec("classification", in_shape=(2, 1, 1), out_features=2, mean=(0.5, 0.0), std=(0.5, 2.0))
    bytes_ = torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8).view(2, 2, 1, 1)
    batches = Batches(InMemory(Samples(bytes_, torch.zeros(2, dtype=torch.long)), CPU), spec, 2)
    ((inputs, _),) = batches.epoch()
    assert inputs.flatten(1).tolist() == [[-1.0, 0.5], [1.0, 0.0]]


def test_raw_inputs_are_not_normalized() -> None:
    batches = Batches(InMemory(numbered(20), CPU), SPEC, 8)
    assert batches.raw(torch.tensor([7, 3]))[:, 0].tolist() == [7.0, 3.0]


@pytest.mark.parametrize("kind", range(3))
def test_raw_inputs_may_be_empty(kind: int) -> None:
    batches = Batches(sources(numbered(20))[kind], SPEC, 8)
    assert batches.raw(torch.zeros(0, dtype=torch.long)).shape == (0, 2)


@pytest.mark.parametrize("kind", range(3))
def test_repeated_epoch_can_start_at_any_batch(kind: int) -> None:
    batches = Batches(sources(numbered(10))[kind], SPEC, 4, seed=1, repeat=3)
    whole = order(batches, 2)
    assert (batches.samples, len(batches)) == (30, 8)
    assert [len(batch) for batch in whole] == [4] * 7 + [2]
    passes = list(chain(*whole))
    assert [sorted(passes[start : start + 10]) for start in (0, 10, 20)] == [list(range(10))] * 3
    assert len({tuple(passes[start : start + 10]) for start in (0, 10, 20)}) == 3
    assert [order(batches, 2, start) for start in range(9)] == [whole[start:] for start in range(9)]


def test_each_pass_of_a_repeated_epoch_has_its_own_order() -> None:
    once, thrice = (Batches(InMemory(numbered(10), CPU), SPEC, 5, seed=1, repeat=repeat) for repeat in (1, 3))
    assert [batch for epoch in range(6) for batch in order(once, epoch)] == order(thrice, 0) + order(thrice, 1)


@pytest.mark.parametrize("size", [10, 64])
@pytest.mark.parametrize("kind", range(3))
def test_batch_with_the_whole_split_is_not_shuffled(kind: int, size: int) -> None:
    batches = Batches(sources(numbered(10))[kind], SPEC, size, seed=1, repeat=5)
    assert (batches.size, batches.samples, len(batches)) == (10, 50, 5)
    assert order(batches, 3) == [list(range(10))] * 5
    assert order(batches, 3, start=3) == [list(range(10))] * 2


def test_in_place_operations_do_not_change_the_next_batch() -> None:
    batches = Batches(InMemory(numbered(10), CPU), SPEC, 10, seed=1, repeat=2)
    (first, _), (second, _) = ((inputs.clone(), inputs.zero_()) for inputs, _ in batches.epoch())
    assert torch.equal(first, second)
    assert first.any()


def test_worker_that_is_starting_survives_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = sources_module._outlive_a_signal

    def handle_late(worker: int) -> None:
        time.sleep(0.5)
        handle(worker)

    def signal_workers() -> None:
        for child in active_children():
            assert child.pid is not None
            os.kill(child.pid, signal.SIGTERM)

    monkeypatch.setattr(sources_module, "_outlive_a_signal", handle_late)
    source = Streamed(numbered(8), CPU, workers=1)
    batches = source.batches(torch.arange(8), 4)
    threading.Timer(0.2, signal_workers).start()
    assert [len(targets) for _, targets in batches] == [4, 4]


@pytest.mark.slow
def test_workers_do_not_delay_the_exit_of_the_program(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(
        "import torch\n"
        "from runner.data.sources import Streamed\n"
        "from runner.dataset import Samples\n"
        "source = Streamed(Samples(torch.ones(8, 1), torch.ones(8)), torch.device('cpu'), workers=1)\n"
        "kept = [source, iter(source.batches(torch.arange(8), 1))]\n"
        "kept.append(kept)\n"  # a reference cycle, as in a run
        "next(kept[1])\n"
        "source.loader._iterator.cycle = kept\n"
    )
    subprocess.run([sys.executable, str(script)], check=True, timeout=60)
