"""Tests of batches whose inputs or targets are tuples, dicts, integers, or samples of different sizes."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from runner.data.batches import Batches
from runner.data.sources import Collated, InMemory, Source
from runner.data.splits import fingerprint, split
from runner.data.streamed import Streamed
from runner.dataset import Pool, Samples, Spec
from runner.dataset.tree import tensors
from runner.errors import DataError

CPU = torch.device("cpu")
SPEC = Spec(task="classification", in_shape=(2,), out_features=3)
TREE = Samples(
    {"words": torch.arange(40).view(20, 2), "numbers": (torch.arange(20.0), torch.arange(20, dtype=torch.uint8))},
    {"class": torch.arange(20) % 3, "value": torch.arange(20.0)},
)


class Ragged:
    """Input number i is i + 1 times the number i."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"words": torch.full((index % 5 + 1,), index), "noise": torch.rand(1)}


def padded(samples: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    words = pad_sequence([each["words"] for each, _ in samples], batch_first=True, padding_value=-1)
    noise = torch.stack([each["noise"] for each, _ in samples])
    return {"words": words, "noise": noise}, torch.stack([target for _, target in samples])


def flat(batches: Batches, epoch: int = 0, start: int = 0) -> list[list[Any]]:
    return [[tensor.tolist() for tensor in tensors(batch)] for batch in batches.epoch(epoch, start)]


@pytest.mark.parametrize("source", [Streamed(TREE, CPU, 0), Streamed(TREE, CPU, 2)], ids=["here", "workers"])
def test_trees_are_equal_in_memory_and_streamed(source: Source) -> None:
    memory, streamed = (Batches(each, SPEC, 6, seed=1) for each in (InMemory(TREE, CPU), source))
    assert flat(memory, 1) == flat(streamed, 1)
    assert flat(streamed, 1, start=2) == flat(memory, 1)[2:]


def test_integers_and_trees_are_not_normalized() -> None:
    spec = Spec(task="classification", in_shape=(2,), out_features=3, mean=(0.5,), std=(2.0,))
    inputs, _ = next(iter(Batches(InMemory(TREE, CPU), spec, 20).epoch()))
    assert inputs["numbers"][1].dtype == torch.uint8
    assert torch.equal(inputs["words"], TREE.inputs["words"])
    tokens = Samples(torch.arange(40).view(20, 2), torch.zeros(20))
    (inputs, _), *_ = Batches(InMemory(tokens, CPU), spec, 6).epoch()
    assert inputs.dtype == torch.int64


def test_samples_of_different_sizes_are_collated_equally() -> None:
    samples = Samples(Ragged(), torch.arange(20) % 3)
    sources: list[Source] = [Streamed(samples, CPU, workers, padded) for workers in (0, 2)]
    here, workers = (flat(Batches(source, SPEC, 6, seed=1), 1) for source in sources)
    assert here == workers
    memory = flat(Batches(Collated(samples, CPU, padded), SPEC, 6, seed=1), 1)
    assert [batch[0] for batch in memory] == [batch[0] for batch in here]  # the noise is drawn once in memory
    assert {len(batch[0][0]) for batch in memory} == {4, 5}


class Numbers:
    """Sample number i is the number i in several forms."""

    def __init__(self, name: bool = False) -> None:
        self.name = name

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, Any]:
        name = {"name": str(index)} if self.name else {}
        return {"float": float(index), "pair": (index, np.int64(index)), "array": np.full(2, index), **name}


def test_numbers_and_arrays_inside_samples_are_stacked() -> None:
    batch, targets = next(Batches(InMemory(Samples(Numbers(), Numbers()), CPU), SPEC, 4).epoch())
    for tree in (batch, targets):
        assert [tensor.tolist() for tensor in tensors(tree)] == [
            *([0.0, 1.0, 2.0, 3.0], [0, 1, 2, 3], [0, 1, 2, 3]),
            [[0, 0], [1, 1], [2, 2], [3, 3]],
        ]


def test_values_that_cannot_be_stacked_are_refused() -> None:
    with pytest.raises(DataError, match="found a str in a sample, expected tensors"):
        InMemory(Samples(Numbers(name=True), torch.arange(4)), CPU)


def test_readable_targets_are_stacked() -> None:
    samples = Samples(torch.arange(20.0)[:, None], [float(number) for number in range(20)])
    sources: list[Source] = [InMemory(samples, CPU), Streamed(samples, CPU, 0)]
    one, two = (flat(Batches(source, SPEC, 6, seed=1)) for source in sources)
    assert one == two
    assert sorted(target for batch in one for target in batch[1]) == list(range(20))


@pytest.mark.parametrize("samples", [TREE, Samples(Ragged(), list(range(20)))], ids=["tree", "ragged"])
def test_trees_are_split_and_fingerprinted(samples: Samples) -> None:
    parts = split(Pool(samples), seed=0, val_share=0.2, test_share=0.25, fold=None)
    assert [part.size for part in parts] == [12, 3, 5]
    assert fingerprint(parts.train) != fingerprint(parts.test)
    folds = [split(Pool(samples, test=samples), seed=0, val_share=0.1, test_share=None, fold=(n, 4)) for n in range(4)]
    assert [fold.test.size for fold in folds] == [10] * 4


def test_task_prepares_each_batch() -> None:
    batches = Batches(InMemory(TREE, CPU), SPEC, 20, prepare=lambda inputs, targets: (inputs["words"], inputs))
    ((inputs, targets),) = batches.epoch()
    assert torch.equal(inputs, targets["words"])
