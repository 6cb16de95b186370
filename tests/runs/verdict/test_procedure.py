"""Tests of the statistics of a verdict. `calibrate.py` simulates its error rates and its power."""

import math
from dataclasses import replace

import numpy as np
import pytest

from runner.runs.verdict.procedure import (
    Design,
    Gap,
    Independent,
    Paired,
    compare_with_best,
    noise,
    noise_of_pair,
    resolution_of,
)

A = [0.95, 0.96, 0.94, 0.96, 0.95]
B = [0.94, 0.96, 0.93, 0.95, 0.93]
C = [0.90, 0.93, 0.91, 0.92, 0.90]


def judge(design: Design, alpha: float = 0.05) -> tuple[int, list[Gap]]:
    best, gaps = compare_with_best(design, alpha)
    return best, [gap for gap in gaps if gap is not None]


def test_worked_example_of_three_groups() -> None:
    best, (b, c) = judge(Paired(np.array([A, B, C])))
    assert best == 0
    assert [b.is_worse, c.is_worse] == [True, True]
    assert [b.groups, c.groups] == [2, 3]  # B is only found to be worse once C has been set aside
    assert [b.difference, b.margin, b.p] == pytest.approx([0.010, 0.00878, 0.0341], rel=2e-3)
    assert [c.difference, c.margin, c.p] == pytest.approx([0.040, 0.01242, 0.00086], rel=6e-3)


def test_folds_widen_the_intervals() -> None:
    _, (b, c) = judge(Paired(np.array([A, B, C]), overlap=1 / 4))
    assert [b.margin, c.margin] == pytest.approx([0.01317, 0.01862], rel=1e-3)
    assert b.p == pytest.approx(0.103, rel=5e-3)
    assert [b.is_worse, c.is_worse] == [False, True]


def test_two_groups_are_compared_by_a_paired_t_test() -> None:
    from scipy.stats import ttest_rel

    _, (gap,) = judge(Paired(np.array([A, B])))
    expected = ttest_rel(A, B)
    low, high = expected.confidence_interval(0.95)
    assert gap.p == pytest.approx(expected.pvalue, rel=1e-3)
    assert [gap.difference - gap.margin, gap.difference + gap.margin] == pytest.approx([low, high], rel=1e-3)


def test_independent_groups_are_compared_by_welch_and_tukey_kramer() -> None:
    from scipy.stats import ttest_ind, tukey_hsd

    groups = [np.array(A), np.array([0.93, 0.90, 0.95, 0.91]), np.array([0.92, 0.96, 0.94])]
    _, gaps = judge(Independent(groups))
    pairs = tukey_hsd(*groups)
    for number, gap in enumerate(gaps, start=1):
        welch = ttest_ind(groups[0], groups[number], equal_var=False).pvalue
        assert gap.p == pytest.approx(max(welch, pairs.pvalue[0, number]), rel=1e-3)


def test_interval_excludes_zero_exactly_if_p_is_below_alpha() -> None:
    random = np.random.default_rng(0)
    found = set()
    for _ in range(40):
        _, gaps = judge(Paired(random.normal(size=(4, 4)) + np.array([[2.5], [0], [0], [0]])))
        found |= {(gap.is_worse, gap.p < 0.05) for gap in gaps}
    assert found == {(True, True), (False, False)}


def test_later_rounds_never_report_a_smaller_p_than_earlier_ones() -> None:
    noisy, far = np.array([0.0, 20, -20]) - 200, np.array([1.0, -1, 0]) - 30
    table = np.array([[1.0, 1.1, 0.9], [0.5, 0.62, 0.38], far, noisy])
    _, gaps = judge(Paired(table))
    earlier = [gap.p for gap in gaps if gap.groups == 4 and gap.is_worse]
    (last,) = [gap for gap in gaps if gap.groups < 4]
    assert last.p >= max(earlier) > replace(last, earlier=()).p


def test_equal_differences_twice_are_no_certainty_for_a_coarse_metric() -> None:
    _, (gap,) = judge(Paired(np.array([[0.96, 0.95], [0.95, 0.94]])))
    assert not gap.is_worse
    assert math.isfinite(gap.p)
    assert gap.p > 0.05


def test_resolution_is_the_smallest_gap_above_rounding() -> None:
    assert resolution_of(np.array([0.3, 0.1 + 0.2, 0.4, 0.35])) == pytest.approx(0.05)
    assert resolution_of(np.array([0.3, 0.1 + 0.2])) == pytest.approx(3e-10)
    assert resolution_of(np.array([0.0, 0.0])) == 0


def test_noise_has_a_floor_of_the_variance_of_rounding() -> None:
    equal = np.array([[0.96, 0.95], [0.95, 0.94]])
    assert noise(equal, resolution_of(equal)) == pytest.approx(0.01**2 / 12)
    assert noise_of_pair(equal[0] - equal[1], resolution_of(equal)) == pytest.approx(0.01**2 / 6)
