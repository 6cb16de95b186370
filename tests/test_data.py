from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from runner.data import Batches, Chosen, InMemory, Source, Splits, Streamed, measure, split
from runner.dataset import Pool, Samples, Spec
from runner.errors import DataError

CPU = torch.device("cpu")
SPEC = Spec("classification", in_shape=(2,), out_features=3, mean=(0.5,), std=(2.0,))


def numbered(samples: int, classes: int = 3) -> Samples:
    """Samples that can be told apart: input i is [i, i]."""
    return Samples(torch.arange(samples).float()[:, None].expand(-1, 2).clone(), torch.arange(samples) % classes)


def identities(samples: Samples) -> list[int]:
    assert isinstance(samples.inputs, Tensor)
    return [int(number) for number in samples.inputs[:, 0].tolist()]


def drawn(samples: int = 100, test: Samples | None = None, **choice: float | int | None) -> Splits:
    usual = {"seed": 0, "val_share": 0.1, "test_share": 0.2, "folds": None, "fold": None}
    return split(Pool(numbered(samples), test), **(usual | choice))  # type: ignore[arg-type]


def test_splits_are_disjoint_cover_everything_and_have_their_shares() -> None:
    parts = [identities(part) for part in drawn()]
    assert sorted(chain(*parts)) == list(range(100))
    assert [len(part) for part in parts] == [72, 8, 20]


@settings(max_examples=50, deadline=None)
@given(samples=st.integers(30, 300), classes=st.integers(2, 5), share=st.floats(0.1, 0.5), seed=st.integers(0, 99))
def test_each_class_is_represented_in_proportion(samples: int, classes: int, share: float, seed: int) -> None:
    pool = Pool(numbered(samples, classes))
    test = split(pool, seed=seed, val_share=0.1, test_share=share, folds=None, fold=None).test
    for count, total in zip(test.targets.bincount(), pool.samples.targets.bincount(), strict=True):
        assert abs(count - share * total) <= 1


def test_the_dataset_seed_alone_fixes_the_splits() -> None:
    assert identities(drawn().test) == identities(drawn().test)
    assert identities(drawn().test) != identities(drawn(seed=1).test)


def test_folds_are_disjoint_cover_everything_and_are_stratified() -> None:
    folds = [drawn(folds=5, fold=fold) for fold in range(5)]
    assert sorted(chain(*(identities(fold.test) for fold in folds))) == list(range(100))
    for fold in folds:
        assert sorted(chain(*(identities(part) for part in fold))) == list(range(100))
        assert all(6 <= count <= 7 for count in fold.test.targets.bincount())


def test_the_publishers_test_set_is_kept_unless_folds_are_asked_for() -> None:
    published = Samples(torch.full((10, 2), -1.0), torch.zeros(10, dtype=torch.long))
    assert identities(drawn(test=published, test_share=None).test) == [-1] * 10
    tested = [identities(drawn(test=published, test_share=None, folds=2, fold=fold).test) for fold in range(2)]
    assert sorted(chain(*tested)) == [-1] * 10 + list(range(100))


def test_inputs_that_are_read_one_by_one_are_split_without_reading_them() -> None:
    class Unread:
        def __len__(self) -> int:
            return 30

        def __getitem__(self, index: int) -> Tensor:
            return torch.tensor([float(index)])

    parts = split(
        Pool(Samples(Unread(), torch.arange(30) % 3)), seed=0, val_share=0.1, test_share=0.5, folds=None, fold=None
    )
    assert isinstance(parts.test.inputs, Chosen)
    assert len(parts.test.inputs) == 15
    index = int(parts.test.inputs.indices[3])
    assert parts.test.inputs[3] == torch.tensor([float(index)])
    assert parts.test.targets[3] == index % 3


def sources(samples: Samples) -> list[Source]:
    return [InMemory(samples, CPU), Streamed(samples, CPU, workers=0), Streamed(samples, CPU, workers=2)]


def test_both_ways_in_give_the_same_batches_in_the_same_order_for_any_number_of_workers() -> None:
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


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    one, same, other = (Batches(InMemory(numbered(50), CPU), SPEC, 8, seed=seed) for seed in (1, 1, 2))
    torch.manual_seed(5)
    first = order(one, 0)
    torch.manual_seed(6)
    assert order(same, 0) == first
    assert sorted(chain(*first)) == list(range(50))
    assert order(one, 1) != first
    assert order(other, 0) != first


@pytest.mark.parametrize("kind", range(3))
def test_an_epoch_can_start_at_any_batch(kind: int) -> None:
    batches = Batches(sources(numbered(20))[kind], SPEC, 8, seed=1)
    assert len(batches) == 3
    whole = order(batches, 4)
    assert [order(batches, 4, start) for start in range(4)] == [whole, whole[1:], whole[2:], []]


def test_without_a_seed_the_samples_keep_their_order() -> None:
    assert order(Batches(InMemory(numbered(20), CPU), SPEC, 8), 3) == [
        list(range(8)),
        list(range(8, 16)),
        list(range(16, 20)),
    ]


def test_streaming_leaves_the_global_random_numbers_alone() -> None:
    torch.manual_seed(0)
    list(Batches(Streamed(numbered(20), CPU, workers=0), SPEC, 8, seed=1).epoch())
    drawn_after = torch.rand(1)
    torch.manual_seed(0)
    assert drawn_after == torch.rand(1)


def test_bytes_become_numbers_and_are_normalised_by_channel() -> None:
    spec = Spec("classification", in_shape=(2, 1, 1), out_features=2, mean=(0.5, 0.0), std=(0.5, 2.0))
    bytes_ = torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8).view(2, 2, 1, 1)
    batches = Batches(InMemory(Samples(bytes_, torch.zeros(2, dtype=torch.long)), CPU), spec, 2)
    ((inputs, _),) = batches.epoch()
    assert inputs.flatten(1).tolist() == [[-1.0, 0.5], [1.0, 0.0]]


def test_raw_inputs_are_as_the_dataset_has_them() -> None:
    batches = Batches(InMemory(numbered(20), CPU), SPEC, 8)
    assert batches.raw(torch.tensor([7, 3]))[:, 0].tolist() == [7.0, 3.0]


@pytest.mark.parametrize("kind", range(3))
def test_the_raw_inputs_of_no_sample_are_an_empty_batch(kind: int) -> None:
    batches = Batches(sources(numbered(20))[kind], SPEC, 8)
    assert batches.raw(torch.zeros(0, dtype=torch.long)).shape == (0, 2)


def test_without_shares_the_training_samples_validate_and_test() -> None:
    assert [identities(part) for part in drawn(10, val_share=None, test_share=None)] == [list(range(10))] * 3


def test_without_a_share_to_validate_the_training_samples_do() -> None:
    train, val, test = (identities(part) for part in drawn(val_share=None))
    assert train == val
    assert sorted(train + test) == list(range(100))
    train, val, test = (identities(part) for part in drawn(val_share=None, folds=5, fold=1))
    assert train == val
    assert sorted(train + test) == list(range(100))
    assert len(test) == 20


def test_without_anything_to_test_on_the_splits_are_refused() -> None:
    with pytest.raises(DataError, match=r"dataset\.test_share is null"):
        drawn(test_share=None)


def test_the_publishers_validation_set_is_kept_unless_folds_are_asked_for() -> None:
    published = [Samples(torch.full((size, 2), -1.0), torch.zeros(size, dtype=torch.long)) for size in (10, 5)]
    pool = Pool(numbered(30), *published)
    train, val, test = (
        len(part.targets) for part in split(pool, seed=0, val_share=0.1, test_share=None, folds=None, fold=None)
    )
    assert (train, val, test) == (30, 5, 10)
    parts = split(pool, seed=0, val_share=0.1, test_share=None, folds=3, fold=0)
    assert sum(len(part.targets) for part in parts) == 45
    assert len(parts.test.targets) == 15


def test_numbers_are_put_into_folds_that_are_disjoint_and_cover_everything() -> None:
    pool = Pool(Samples(numbered(23).inputs, torch.rand(23, 2)))
    folds = [split(pool, seed=0, val_share=0.2, test_share=None, folds=5, fold=fold) for fold in range(5)]
    assert sorted(chain(*(identities(fold.test) for fold in folds))) == list(range(23))
    assert sorted(len(fold.test.targets) for fold in folds) == [4, 4, 5, 5, 5]


def test_a_dataset_that_knows_its_mean_keeps_it() -> None:
    assert measure(SPEC, numbered(5)) is SPEC


def test_columns_are_measured_and_those_that_never_change_keep_their_scale() -> None:
    spec = Spec("regression", in_shape=(2,), out_features=1, standardise=True)
    found = measure(spec, Samples(torch.tensor([[1.0, 5.0], [3.0, 5.0]]), torch.zeros(2, 1)))
    assert (found.mean, found.std) == ((2.0, 5.0), (1.0, 1.0))
    batches = Batches(InMemory(Samples(torch.tensor([[1.0, 5.0], [3.0, 6.0]]), torch.zeros(2, 1)), CPU), found, 2)
    ((inputs, _),) = batches.epoch()
    assert inputs.tolist() == [[-1.0, 0.0], [1.0, 1.0]]


@pytest.mark.parametrize("kind", range(3))
def test_an_epoch_of_several_passes_can_start_at_any_batch(kind: int) -> None:
    batches = Batches(sources(numbered(10))[kind], SPEC, 4, seed=1, repeat=3)
    whole = order(batches, 2)
    assert (batches.samples, len(batches)) == (30, 8)
    assert [len(batch) for batch in whole] == [4] * 7 + [2]
    passes = list(chain(*whole))
    assert [sorted(passes[start : start + 10]) for start in (0, 10, 20)] == [list(range(10))] * 3
    assert len({tuple(passes[start : start + 10]) for start in (0, 10, 20)}) == 3
    assert [order(batches, 2, start) for start in range(9)] == [whole[start:] for start in range(9)]


def test_several_passes_have_the_orders_of_as_many_epochs() -> None:
    once, thrice = (Batches(InMemory(numbered(10), CPU), SPEC, 5, seed=1, repeat=repeat) for repeat in (1, 3))
    assert [batch for epoch in range(6) for batch in order(once, epoch)] == order(thrice, 0) + order(thrice, 1)


@pytest.mark.parametrize("size", [10, 64])
@pytest.mark.parametrize("kind", range(3))
def test_a_batch_that_holds_the_whole_split_is_the_same_in_each_step(kind: int, size: int) -> None:
    batches = Batches(sources(numbered(10))[kind], SPEC, size, seed=1, repeat=5)
    assert (batches.size, batches.samples, len(batches)) == (10, 50, 5)
    assert order(batches, 3) == [list(range(10))] * 5
    assert order(batches, 3, start=3) == [list(range(10))] * 2


def test_a_model_that_works_in_place_does_not_spoil_the_batch_to_come() -> None:
    batches = Batches(InMemory(numbered(10), CPU), SPEC, 10, seed=1, repeat=2)
    (first, _), (second, _) = ((inputs.clone(), inputs.zero_()) for inputs, _ in batches.epoch())
    assert torch.equal(first, second)
    assert first.any()
