from typing import Any

import pytest
import torch
from torch import Tensor

from runner.dataset.digits import Digits
from runner.dataset.multilabel_digits import MultilabelDigits
from runner.registry import DATASETS


def load(**values: Any) -> list[tuple[Tensor, Tensor]]:
    """Return the inputs and the targets of the training and of the test pictures."""
    train, test, val = MultilabelDigits(**values).load()
    assert val is None
    assert test is not None
    return [(train.inputs, train.targets), (test.inputs, test.targets)]


def cells(images: Tensor) -> Tensor:
    """Return the cells of pictures [N, 1, 2 * side, 2 * side] as [N, 4, side, side], row by row."""
    side = images.shape[-1] // 2
    parts = [images[:, 0, top : top + side, left : left + side] for top in (0, side) for left in (0, side)]
    return torch.stack(parts, dim=1)


def by_image(size: int) -> dict[bytes, tuple[int, int]]:
    """Return the index and the class of each digit by its pixels."""
    images, classes = Digits(size).load().samples
    return {
        image.numpy().tobytes(): (index, int(digit))
        for index, (image, digit) in enumerate(zip(images, classes, strict=True))
    }


@pytest.mark.parametrize("size", [16, 32])
def test_samples_match_the_spec(size: int) -> None:
    spec = MultilabelDigits(size=size).spec
    assert (spec.task, spec.in_shape, spec.out_features) == ("multilabel", (1, size, size), 10)
    assert spec.classes == tuple("0123456789")
    assert spec.has_test
    for (images, targets), count in zip(load(images=101, size=size), (81, 20), strict=True):
        assert (images.shape, images.dtype) == ((count, 1, size, size), torch.uint8)
        assert (targets.shape, targets.dtype) == ((count, 10), torch.float32)
        assert targets.unique().tolist() == [0, 1]


def test_mean_and_std_match_the_images() -> None:
    spec, (images, _) = MultilabelDigits().spec, load()[0]
    assert spec.mean[0] == pytest.approx((images / 255).mean().item(), abs=2e-3)
    assert spec.std[0] == pytest.approx((images / 255).std().item(), abs=2e-3)


def test_targets_are_the_digits_in_the_cells() -> None:
    known = by_image(8)
    for images, targets in load(images=200, size=16):
        for parts, target in zip(cells(images), targets, strict=True):
            classes = {known[part.numpy().tobytes()][1] for part in parts if part.any()}
            assert target.nonzero().flatten().tolist() == sorted(classes)


def test_no_digit_is_in_both_training_and_test_pictures() -> None:
    known = by_image(8)
    train, test = (
        {known[part.numpy().tobytes()][0] for part in cells(images).flatten(0, 1) if part.any()}
        for images, _ in load(size=16)
    )
    assert not train & test
    assert len(test) > 350  # of 360
    assert len(train) > 1400  # of 1437


def test_a_cell_is_empty_with_probability_three_tenths() -> None:
    empty = (cells(load(size=16)[0][0]) == 0).all(3).all(2)
    assert empty.double().mean(0).tolist() == pytest.approx([0.3] * 4, abs=0.04)
    assert set(empty.sum(1).tolist()) == {0, 1, 2, 3, 4}


def test_samples_depend_only_on_draw() -> None:
    before = torch.get_rng_state()
    first, same, other = (load(images=50, draw=draw) for draw in (0, 0, 1))
    for part in range(2):
        assert all(map(torch.equal, first[part], same[part]))
        assert not torch.equal(first[part][0], other[part][0])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"images": 4}, "images must be at least 5, found 4"),
        ({"size": 31}, "size must be even and at least 2, found 31"),
        ({"size": 0}, "size must be even and at least 2, found 0"),
    ],
)
def test_values_out_of_range_are_rejected(values: dict[str, int], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        MultilabelDigits(**values)


def test_builds_from_registry() -> None:
    built = DATASETS.build("multilabel_digits", {"images": 10, "size": 16, "draw": 1})
    assert isinstance(built, MultilabelDigits)
