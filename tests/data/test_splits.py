from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers import numbered
from runner.data.batches import Batches
from runner.data.sources import InMemory, draws
from runner.data.splits import LOOKED_AT, Chosen, Splits, fingerprint, measure, split
from runner.dataset import Pool, Samples, Spec
from runner.errors import DataError

CPU = torch.device("cpu")
SPEC = Spec("classification", in_shape=(2,), out_features=3, mean=(0.5,), std=(2.0,))


def identities(samples: Samples) -> list[int]:
    assert isinstance(samples.inputs, Tensor)
    return [int(number) for number in samples.inputs[:, 0].tolist()]


def drawn(samples: int = 100, test: Samples | None = None, **choice: float | tuple[int, int] | None) -> Splits:
    usual = {"seed": 0, "val_share": 0.1, "test_share": 0.2, "fold": None}
    return split(Pool(numbered(samples), test), **(usual | choice))  # type: ignore[arg-type]


def test_splits_partition_the_samples_by_their_shares() -> None:
    parts = [identities(part) for part in drawn()]
    assert sorted(chain(*parts)) == list(range(100))
    assert [len(part) for part in parts] == [72, 8, 20]


@settings(max_examples=50, deadline=None)
@given(samples=st.integers(30, 300), classes=st.integers(2, 5), share=st.floats(0.1, 0.5), seed=st.integers(0, 99))
def test_splits_are_stratified(samples: int, classes: int, share: float, seed: int) -> None:
    pool = Pool(numbered(samples, classes))
    test = split(pool, seed=seed, val_share=0.1, test_share=share, fold=None).test
    for count, total in zip(test.targets.bincount(minlength=classes), pool.samples.targets.bincount(), strict=True):
        assert abs(count - share * total) <= 1


def test_splits_depend_only_on_their_seed() -> None:
    assert identities(drawn().test) == identities(drawn().test)
    assert identities(drawn().test) != identities(drawn(seed=1).test)


def test_folds_partition_the_samples_and_are_stratified() -> None:
    folds = [drawn(fold=(fold, 5)) for fold in range(5)]
    assert sorted(chain(*(identities(fold.test) for fold in folds))) == list(range(100))
    for fold in folds:
        assert sorted(chain(*(identities(part) for part in fold))) == list(range(100))
        assert all(6 <= count <= 7 for count in fold.test.targets.bincount())


def test_published_test_set_is_used_without_folds() -> None:
    published = Samples(torch.full((10, 2), -1.0), torch.zeros(10, dtype=torch.long))
    assert identities(drawn(test=published, test_share=None).test) == [-1] * 10
    tested = [identities(drawn(test=published, test_share=None, fold=(fold, 2)).test) for fold in range(2)]
    assert sorted(chain(*tested)) == [-1] * 10 + list(range(100))


def test_splitting_reads_no_inputs() -> None:
    class Unread:
        def __len__(self) -> int:
            return 30

        def __getitem__(self, index: int) -> Tensor:
            return torch.tensor([float(index)])

    parts = split(Pool(Samples(Unread(), torch.arange(30) % 3)), seed=0, val_share=0.1, test_share=0.5, fold=None)
    assert isinstance(parts.test.inputs, Chosen)
    assert len(parts.test.inputs) == 15
    index = int(parts.test.inputs.indices[3])
    assert parts.test.inputs[3] == torch.tensor([float(index)])
    assert parts.test.targets[3] == index % 3


def test_folds_of_inputs_that_draw_no_random_numbers_draw_none() -> None:
    class Still:
        draws = False

        def __len__(self) -> int:
            return 30

        def __getitem__(self, index: int) -> Tensor:
            return torch.tensor([float(index)])

    samples = Samples(Still(), torch.arange(30) % 3)
    parts = split(Pool(samples, test=samples), seed=0, val_share=None, test_share=None, fold=(0, 3))
    assert not draws(parts.train.inputs)


def test_all_splits_are_the_training_samples_without_shares() -> None:
    assert [identities(part) for part in drawn(10, val_share=None, test_share=None)] == [list(range(10))] * 3


def test_validation_uses_the_training_samples_without_val_share() -> None:
    train, val, test = (identities(part) for part in drawn(val_share=None))
    assert train == val
    assert sorted(train + test) == list(range(100))
    train, val, test = (identities(part) for part in drawn(val_share=None, fold=(1, 5)))
    assert train == val
    assert sorted(train + test) == list(range(100))
    assert len(test) == 20


def test_missing_test_share_raises() -> None:
    with pytest.raises(DataError, match=r"dataset\.test_share: found null"):
        drawn(test_share=None)


def test_published_validation_set_is_used_without_folds() -> None:
    published = [Samples(torch.full((size, 2), -1.0), torch.zeros(size, dtype=torch.long)) for size in (10, 5)]
    pool = Pool(numbered(30), *published)
    train, val, test = (len(part.targets) for part in split(pool, seed=0, val_share=0.1, test_share=None, fold=None))
    assert (train, val, test) == (30, 5, 10)
    parts = split(pool, seed=0, val_share=0.1, test_share=None, fold=(0, 3))
    assert sum(len(part.targets) for part in parts) == 45
    assert len(parts.test.targets) == 15


def test_folds_partition_a_regression_dataset() -> None:
    pool = Pool(Samples(numbered(23).inputs, torch.rand(23, 2)))
    folds = [split(pool, seed=0, val_share=0.2, test_share=None, fold=(fold, 5)) for fold in range(5)]
    assert sorted(chain(*(identities(fold.test) for fold in folds))) == list(range(23))
    assert sorted(len(fold.test.targets) for fold in folds) == [4, 4, 5, 5, 5]


def test_known_mean_is_not_measured() -> None:
    assert measure(SPEC, numbered(5)) is SPEC


def test_measure_standardizes_columns_except_constant_ones() -> None:
    spec = Spec("regression", in_shape=(2,), out_features=1, standardize=True)
    found = measure(spec, Samples(torch.tensor([[1.0, 5.0], [3.0, 5.0]]), torch.zeros(2, 1)))
    assert (found.mean, found.std) == ((2.0, 5.0), (1.0, 1.0))
    batches = Batches(InMemory(Samples(torch.tensor([[1.0, 5.0], [3.0, 6.0]]), torch.zeros(2, 1)), CPU), found, 2)
    ((inputs, _),) = batches.epoch()
    assert inputs.tolist() == [[-1.0, 0.0], [1.0, 1.0]]


def test_measure_finds_mean_and_std_of_the_targets() -> None:
    spec = Spec("regression", in_shape=(2,), out_features=1, standardize_targets=True)
    found = measure(spec, Samples(torch.zeros(2, 2), torch.tensor([[10.0], [30.0]])))
    assert (found.target_mean, found.target_std, found.mean) == (20.0, 10.0, (0.0,))
    constant = measure(spec, Samples(torch.zeros(2, 2), torch.full((2, 1), 7.0)))
    assert (constant.target_mean, constant.target_std) == (7.0, 1.0)


def test_fingerprint_differs_between_samples_and_reads_few_inputs() -> None:
    read = []

    class Counted:
        def __init__(self, inputs: Tensor) -> None:
            self.inputs = inputs

        def __len__(self) -> int:
            return len(self.inputs)

        def __getitem__(self, index: int) -> Tensor:
            read.append(index)
            return self.inputs[index]

    inputs, targets = torch.rand(1000, 2), torch.arange(1000) % 3
    first = fingerprint(Samples(inputs, targets))
    assert fingerprint(Samples(Counted(inputs), targets.clone())) == first
    assert len(read) == LOOKED_AT
    assert fingerprint(Samples(inputs + 1, targets)) != first
    assert fingerprint(Samples(inputs, targets.flip(0))) != first
    assert fingerprint(Samples(inputs[:999], targets[:999])) != first


def test_fingerprint_of_types_that_numpy_does_not_have() -> None:
    halves = torch.rand(10, 2).bfloat16()
    assert fingerprint(Samples(halves, halves[:, 0])) == fingerprint(Samples(halves.clone(), halves[:, 0].clone()))
    assert fingerprint(Samples(halves, halves[:, 0])) != fingerprint(Samples(halves, halves[:, 1]))
