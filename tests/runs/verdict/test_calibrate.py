"""Tests of the error rates of the procedure, by simulation; `calibrate.py` prints whole tables."""

import math

import pytest

from runs.verdict.calibrate import ALPHA, Case, exponential, rates


def bound(tables: int) -> float:
    """Return the largest share, in percent, that chance explains: three standard errors above 5%."""
    return 100 * (ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / tables))


def test_identical_groups_rarely_show_a_difference() -> None:
    assert rates(Case([0.0] * 3, seeds=5), tables=400).false <= bound(400)


def test_large_differences_are_found() -> None:
    found = rates(Case([2.0, 0, 0, 0, 0], seeds=5), tables=100)
    assert found.found == pytest.approx(55, abs=15)
    assert found.false == 0


@pytest.mark.slow
@pytest.mark.parametrize("groups", [2, 3, 5, 8])
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_at_most_six_percent_of_families_show_a_false_difference(groups: int, seeds: int) -> None:
    found = rates(Case([0.0] * groups, seeds, noise=exponential), tables=1500)
    assert found.false <= 6 + 3 * 100 * math.sqrt(0.06 * 0.94 / 1500)
