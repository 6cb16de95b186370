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
from runner.data import streamed as streamed_module
from runner.data.batches import Batches
from runner.data.sources import InMemory, Source
from runner.data.streamed import Streamed
from runner.dataset import Samples, Spec
from runner.errors import DataError
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


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_of_workers_are_prefetched_in_a_thread(workers: int) -> None:
    before = set(threading.enumerate())
    batches = Batches(Streamed(numbered(20), CPU, workers), SPEC, 8, seed=1).epoch()
    next(batches)
    assert [thread.name for thread in set(threading.enumerate()) - before].count("prefetch") == workers


def test_epoch_that_is_left_early_does_not_disturb_the_next_one() -> None:
    batches = Batches(Streamed(numbered(40), CPU, workers=1), SPEC, 2, seed=1)
    expected = order(batches, 1)
    for _ in range(10):
        next(batches.epoch())
        assert order(batches, 1) == expected


def test_two_passes_at_a_time_are_refused() -> None:
    batches = Batches(Streamed(numbered(20), CPU, workers=0), SPEC, 2, seed=1)
    first, second = batches.epoch(), batches.epoch()
    next(first), next(second)
    with pytest.raises(RuntimeError, match="another pass over the split has begun"):
        next(first)


def test_sample_that_a_worker_cannot_read_is_reported_at_its_batch() -> None:
    class Damaged:
        draws = False

        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int) -> torch.Tensor:
            if index == 6:
                raise DataError("6.png: cannot be read as an image")
            return torch.zeros(2)

    batches = Batches(Streamed(Samples(Damaged(), torch.zeros(8)), CPU, workers=1), SPEC, 2).epoch()
    assert [next(batches)[0].shape for _ in range(3)] == [(2, 2)] * 3
    with pytest.raises(DataError, match=r"^6.png: cannot be read as an image$"):
        next(batches)


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


@pytest.mark.parametrize("workers", [0, 1])
def test_streaming_does_not_use_the_global_generators(workers: int) -> None:
    torch.manual_seed(0)
    list(Batches(Streamed(numbered(20), CPU, workers), SPEC, 8, seed=1).epoch())
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
        assert torch.equal(batches.normalize(batches.raw(torch.tensor([7, 3]))), once[[7, 3]])
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


@pytest.mark.parametrize("kind", range(3))
def test_tokens_and_targets_that_are_modified_in_place_are_read_again(kind: int) -> None:
    samples = Samples(torch.arange(1, 21).view(10, 2), torch.arange(1, 11))
    for inputs, targets in Batches(sources(samples)[kind], SPEC, 10, seed=1, repeat=3).epoch():
        assert torch.equal(inputs, samples.inputs)
        assert torch.equal(targets, samples.targets)
        inputs.zero_(), targets.zero_()


def test_worker_that_is_starting_survives_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = streamed_module._outlive_a_signal

    def handle_late(worker: int) -> None:
        time.sleep(0.5)
        handle(worker)

    def signal_workers() -> None:
        for child in active_children():
            assert child.pid is not None
            os.kill(child.pid, signal.SIGTERM)

    monkeypatch.setattr(streamed_module, "_outlive_a_signal", handle_late)
    source = Streamed(numbered(8), CPU, workers=1)
    batches = source.batches(torch.arange(8), 4)
    threading.Timer(0.2, signal_workers).start()
    assert [len(targets) for _, targets in batches] == [4, 4]


@pytest.mark.slow
@pytest.mark.parametrize("first", ["torch", "multiprocessing.util"])  # which decides whose exit hook runs first
def test_workers_do_not_delay_the_exit_of_the_program(tmp_path: Path, first: str) -> None:
    script = tmp_path / "main.py"
    script.write_text(
        f"import {first}\n"
        "import torch\n"
        "torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL = 1000\n"  # seconds to wait for a worker that does not end
        "from runner.data.streamed import Streamed\n"
        "from runner.dataset import Samples\n"
        "source = Streamed(Samples(torch.ones(8, 1), torch.ones(8)), torch.device('cpu'), workers=1)\n"
        "kept = [source, iter(source.batches(torch.arange(8), 1))]\n"
        "kept.append(kept)\n"  # a reference cycle, as in a run
        "next(kept[1])\n"
        "source.loader._iterator.cycle = kept\n"
    )
    subprocess.run([sys.executable, str(script)], check=True, timeout=60)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_images_in_the_channels_last_format_have_the_same_values_in_it(dtype: torch.dtype) -> None:
    images = torch.randint(0, 255, (20, 3, 4, 5), generator=torch.Generator().manual_seed(0)).to(dtype)
    samples = Samples(images, torch.arange(20))
    spec = Spec("classification", in_shape=(3, 4, 5), out_features=3, mean=(0.5, 0.4, 0.3), std=(2.0, 1.0, 0.5))
    plain, channels_last = (
        Batches(InMemory(samples, CPU, channels_last=each), spec, 6, seed=1) for each in (False, True)
    )
    for (inputs, targets), (other, same_targets) in zip(plain.epoch(), channels_last.epoch(), strict=True):
        assert torch.equal(inputs, other)
        assert torch.equal(targets, same_targets)
        assert other.is_contiguous(memory_format=torch.channels_last)


def test_only_inputs_with_four_dimensions_have_a_channels_last_format() -> None:
    samples = Samples({"image": torch.rand(4, 3, 2, 2), "number": torch.rand(4)}, torch.rand(4, 3, 2, 2))
    source = InMemory(samples, CPU, channels_last=True)
    assert source.inputs["image"].is_contiguous(memory_format=torch.channels_last)
    assert source.targets.is_contiguous()
