"""Tests of the generated datasets and the imbalanced digits."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from runner.dataset.base import Dataset
from runner.dataset.digits import Digits
from runner.dataset.edges import Edges
from runner.dataset.imbalanced_digits import ImbalancedDigits
from runner.dataset.line import Line
from runner.dataset.parabola import Parabola
from runner.dataset.sine import Sine


def load(dataset: Dataset) -> tuple[Tensor, Tensor]:
    (inputs, targets), test, val = dataset.load()
    assert test is None
    assert val is None
    assert isinstance(inputs, Tensor)
    assert inputs.shape[1:] == dataset.spec.in_shape
    if dataset.spec.task == "regression":
        assert targets.shape == (len(inputs), dataset.spec.out_features)
        assert (inputs.dtype, targets.dtype) == (torch.float32, torch.float32)
    return inputs, targets


def test_parabola_matches_its_formula() -> None:
    x, y = load(Parabola())
    assert x.flatten().tolist() == pytest.approx([point / 9 for point in range(10)])
    assert y[[0, 9]].flatten().tolist() == [1.5625, 2.0625]
    assert y.flatten().tolist() == pytest.approx([(point - 0.25) ** 2 + 1.5 for point in x.flatten().tolist()])
    assert len(load(Parabola(points=25))[0]) == 25


def test_line_has_its_slope_and_intercept() -> None:
    x, y = load(Line())
    assert (len(x), len(x.unique())) == (100, 100)
    assert 0 <= x.min() < 0.1 < 0.9 < x.max() < 1
    assert torch.equal(y, 2 * x + 3)
    x, y = load(Line(points=7, slope=-1.0, intercept=0.5))
    assert torch.equal(y, 0.5 - x)
    assert len(x) == 7


def test_line_noise_is_normal_and_does_not_move_the_points() -> None:
    (x, y), (same, noisy) = load(Line(points=2000)), load(Line(points=2000, noise=0.1))
    assert torch.equal(x, same)
    assert float((noisy - y).std()) == pytest.approx(0.1, rel=0.1)
    assert float((noisy - y).mean()) == pytest.approx(0, abs=0.01)


def test_edges_are_the_left_column_minus_the_right_column() -> None:
    pictures, edges = load(Edges(pictures=3, size=5))
    picture, edge = pictures[1, 0], edges[1].view(3, 3)
    for row in range(3):
        for column in range(3):
            window = picture[row : row + 3, column : column + 3]
            assert float(edge[row, column]) == pytest.approx(float(window[:, 0].sum() - window[:, 2].sum()), abs=1e-6)


def test_sine_targets_continue_the_wave() -> None:
    seen, following = load(Sine(waves=20, length=16))
    values = torch.cat([seen.squeeze(2), following], dim=1).double()
    # In a sine wave, the sum of two neighbors is a constant multiple of the value between them.
    outer, inner = values[:, :-2] + values[:, 2:], values[:, 1:-1]
    factor = (outer * inner).sum(1, keepdim=True) / inner.square().sum(1, keepdim=True)
    assert (outer - factor * inner).abs().max() < 1e-4
    periods = 2 * math.pi / (factor / 2).acos()
    assert 8 <= periods.min() < 12
    assert 24 < periods.max() <= 32.01


def test_sine_noise_is_not_added_to_the_targets() -> None:
    (seen, following), (noisy, same) = load(Sine()), load(Sine(noise=0.1))
    assert torch.equal(following, same)
    assert float((noisy - seen).std()) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("make", [Line, Edges, Sine])
def test_samples_depend_only_on_draw(make: Any) -> None:
    before = torch.get_rng_state()
    first, same, other = (load(make(draw=draw)) for draw in (0, 0, 1))
    assert all(map(torch.equal, first, same))
    assert not torch.equal(first[0], other[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_imbalanced_digits_are_a_subset_of_the_digits() -> None:
    shares = [1.0, 0.5, 0.001, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.1]
    images, targets = load(ImbalancedDigits(shares, size=8))
    full = Digits(8).load().samples
    counts = full.targets.bincount()
    assert targets.bincount().tolist() == [
        math.ceil(share * count) for share, count in zip(shares, counts.tolist(), strict=True)
    ]
    assert isinstance(full.inputs, Tensor)
    place = {full.inputs[index].numpy().tobytes(): int(full.targets[index]) for index in range(1797)}
    assert [place[image.numpy().tobytes()] for image in images] == targets.tolist()
    assert torch.equal(load(ImbalancedDigits([1.0] * 10, size=8))[0], full.inputs)


@pytest.mark.parametrize(
    ("make", "values", "problem"),
    [
        (Parabola, {"points": 1}, "points must be at least 2, found 1"),
        (Line, {"points": 0}, "points must be at least 1, found 0"),
        (Line, {"noise": -0.1}, "noise must be at least 0, found -0.1"),
        (Edges, {"pictures": 0}, "pictures must be at least 1, found 0"),
        (Edges, {"size": 2}, "size must be at least 3, found 2"),
        (Sine, {"waves": 0}, "waves must be at least 1, found 0"),
        (Sine, {"length": 0}, "length must be at least 1, found 0"),
        (Sine, {"noise": -1.0}, "noise must be at least 0, found -1.0"),
        (ImbalancedDigits, {"shares": [0.5]}, "shares must have ten values, one per digit, found 1"),
        (ImbalancedDigits, {"shares": [0.0] + [1.0] * 9}, r"shares must be above 0 and at most 1, found \[0.0, "),
        (ImbalancedDigits, {"shares": [1.1] + [1.0] * 9}, r"shares must be above 0 and at most 1, found \[1.1, "),
        (ImbalancedDigits, {"shares": [1.0] * 10, "size": 0}, "size must be at least 1, found 0"),
    ],
)
def test_values_out_of_range_are_rejected(make: Any, values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        make(**values)
