import re

import pytest
import torch
from torch import Tensor

from runner.dataset.digits import Digits


def images(size: int) -> Tensor:
    inputs = Digits(size).load().samples.inputs
    assert isinstance(inputs, Tensor)
    return inputs


@pytest.mark.parametrize("size", [8, 32])
def test_samples_match_the_spec(size: int) -> None:
    dataset = Digits(size)
    samples, test, _ = dataset.load()
    assert test is None
    assert isinstance(samples.inputs, Tensor)
    assert samples.inputs.shape == (1797, *dataset.spec.in_shape) == (1797, 1, size, size)
    assert samples.inputs.dtype == torch.uint8
    assert samples.targets.dtype == torch.int64
    assert samples.targets.unique().tolist() == list(range(dataset.spec.out_features))
    assert dataset.spec.classes == tuple("0123456789")


def test_pixels_use_the_full_range() -> None:
    assert sorted(images(8).unique().tolist()) == [round(level * 255 / 16) for level in range(17)]


def test_mean_and_std_match_the_images() -> None:
    spec, inputs = Digits(8).spec, images(8) / 255
    assert spec.mean[0] == pytest.approx(float(inputs.mean()), abs=1e-3)
    assert spec.std[0] == pytest.approx(float(inputs.std()), abs=1e-3)


def test_first_digit_is_a_zero() -> None:
    zero = Digits(8).load().samples
    assert zero.targets[0] == 0
    assert images(8)[0, 0, 3:5, 3].tolist() == [0, 0]
    assert int(images(8)[0, 0, 0, 3]) > 128


@pytest.mark.parametrize("size", [0, -1])
def test_size_below_one_is_rejected(size: int) -> None:
    with pytest.raises(ValueError, match=f"size must be at least 1, found {size}"):
        Digits(size)


def test_kept_digits_become_the_first_classes_in_their_order() -> None:
    full, dataset = Digits(8).load().samples, Digits(8, keep=[8, 3])
    found = dataset.load().samples
    members = [index for index, digit in enumerate(full.targets.tolist()) if digit in (8, 3)]
    assert (dataset.spec.out_features, dataset.spec.classes) == (2, ("8", "3"))
    assert torch.equal(found.inputs, full.inputs[members])
    assert found.targets.dtype == torch.int64
    assert found.targets.tolist() == [{8: 0, 3: 1}[digit] for digit in full.targets[members].tolist()]


def test_all_digits_in_order_are_kept_by_default() -> None:
    default, explicit = Digits(8).load().samples, Digits(8, keep=list(range(10))).load().samples
    assert torch.equal(default.inputs, explicit.inputs)
    assert torch.equal(default.targets, explicit.targets)
    assert default.targets[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


@pytest.mark.parametrize("keep", [[], [3, 3], [10], [-1, 2]])
def test_digits_to_keep_must_exist_and_differ(keep: list[int]) -> None:
    with pytest.raises(ValueError, match=f"keep must be different digits from 0 to 9, found {re.escape(str(keep))}"):
        Digits(keep=keep)
