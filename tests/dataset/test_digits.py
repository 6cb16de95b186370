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
