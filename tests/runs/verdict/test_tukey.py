import pytest

from runner.runs.verdict.tukey import quantile, survival


@pytest.mark.parametrize(
    ("groups", "df"), [(2, 1.0), (2, 4.0), (3, 2.0), (3, 8.0), (8, 14.5), (40, 120.0), (112, 330.0), (10, 5000.0)]
)
def test_distribution_is_that_of_scipy(groups: int, df: float) -> None:
    from scipy.stats import studentized_range

    for probability in (0.5, 0.95, 0.999):
        expected = studentized_range.ppf(probability, groups, df)
        assert quantile(probability, groups, df) == pytest.approx(expected, rel=1e-4)
        assert survival(expected, groups, df) == pytest.approx(1 - probability, rel=1e-4)


def test_two_groups_are_compared_by_the_t_test() -> None:
    from scipy.special import stdtr

    for df in (1.0, 2.0, 5.0, 50.0):
        assert survival(3 * 2**0.5, 2, df) == pytest.approx(2 * stdtr(df, -3), rel=1e-5)


def test_probabilities_lie_between_zero_and_one() -> None:
    assert survival(0.0, 5, 10.0) == survival(-1.0, 5, 10.0) == 1
    assert 0 <= survival(1e6, 5, 10.0) < 1e-9
