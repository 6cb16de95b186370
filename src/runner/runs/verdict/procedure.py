"""The statistics of a verdict: which groups of runs are worse than the best one, beyond the luck of their seeds.

A group is worse only if two tests agree. Tukey's test uses the noise of all groups, with the seeds as blocks, and pays
for picking the best group from the same results. The paired t-test uses only the noise of the pair, and does not assume
that all groups are equally noisy. Groups that are worse are set aside, and the others are compared again, because
groups far behind are often noisier.

Source:
    Tukey's test with blocks: Hsu, "Multiple Comparisons" (1996), ch. 5.
    Tests that must agree: Berger, "Multiparameter Hypothesis Testing and Acceptance Sampling" (1982).
    Rounds: Hansen, Lunde and Nason, "The Model Confidence Set" (2011), sec. 2.
    Folds: Nadeau and Bengio, "Inference for the Generalization Error" (2003), sec. 4.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from runner.runs.verdict import tukey

Values: TypeAlias = NDArray[np.float64]
ROUNDING = 1e-9  # relative difference of two scores that are equal up to rounding


@dataclass(frozen=True)
class Gap:
    """How far a group is behind the best one, in the round in which it was last compared.

    Args:
        difference: mean of the best group minus the mean of this one; more is better.
        margin: half the width of the interval of the difference.
        groups: number of groups that the round compared.
        common: standard error of the difference by the noise of all groups, and its degrees of freedom.
        pair: standard error of the difference by the noise of the pair, and its degrees of freedom.
        earlier: gaps of the groups that earlier rounds set aside; no p-value is smaller than theirs.
    """

    difference: float
    margin: float
    groups: int
    common: tuple[float, float]
    pair: tuple[float, float]
    earlier: tuple["Gap", ...] = ()

    @property
    def is_worse(self) -> bool:
        """Whether the group is worse than the best one."""
        return self.difference > self.margin

    @cached_property  # each is read by the gaps of all later rounds
    def p(self) -> float:
        """The larger p-value of the two tests."""
        from scipy.special import stdtr

        of_all = tukey.survival(math.sqrt(2) * self.difference / self.common[0], self.groups, self.common[1])
        of_pair = 2 * float(stdtr(self.pair[1], -self.difference / self.pair[0]))
        return min(1.0, max(of_all, of_pair, *(gap.p for gap in self.earlier)))


class Design(Protocol):
    """The scores of groups, more is better, and the noise of their differences."""

    @property
    def means(self) -> Values:
        """The mean of each group."""

    def common(self, left: Sequence[int], one: int, other: int) -> tuple[float, float]:
        """Return the standard error of a difference by the noise of the groups `left`, and its degrees of freedom."""

    def pair(self, one: int, other: int) -> tuple[float, float]:
        """Return the standard error of a difference by the noise of the two groups, and its degrees of freedom."""


class Paired:
    """Groups that ran with the same seeds, or on the same folds.

    Args:
        table: scores of each group.
        overlap: share of the variance that remains however many folds there are, because their training sets overlap:
            1 / (folds - 1), or 0 for seeds.

    Shapes:
        table: (groups, seeds)
    """

    def __init__(self, table: Values, overlap: float = 0.0) -> None:
        self.table, self.overlap, self.resolution = table, overlap, resolution_of(table)

    @property
    def means(self) -> Values:
        """The mean of each group."""
        found: Values = self.table.mean(axis=1)
        return found

    def common(self, left: Sequence[int], one: int, other: int) -> tuple[float, float]:
        """Return the standard error of a difference by the noise of the groups `left`, and its degrees of freedom."""
        seeds = self.table.shape[1]
        variance = noise(self.table[list(left)], self.resolution)
        return math.sqrt(2 * variance * (1 / seeds + self.overlap)), (len(left) - 1) * (seeds - 1)

    def pair(self, one: int, other: int) -> tuple[float, float]:
        """Return the standard error of a difference by the noise of the two groups, and its degrees of freedom."""
        seeds = self.table.shape[1]
        variance = noise_of_pair(self.table[one] - self.table[other], self.resolution)
        return math.sqrt(variance * (1 / seeds + self.overlap)), seeds - 1


class Independent:
    """Groups that ran with different seeds, or with too few common ones.

    Args:
        groups: scores of each group, at least two.
        overlap: see `Paired`.
    """

    def __init__(self, groups: Sequence[Values], overlap: float = 0.0) -> None:
        self.groups, self.overlap, self.resolution = groups, overlap, resolution_of(np.concatenate(groups))

    @property
    def means(self) -> Values:
        """The mean of each group."""
        return np.array([group.mean() for group in self.groups])

    def common(self, left: Sequence[int], one: int, other: int) -> tuple[float, float]:
        """Return the standard error of a difference by the noise of the groups `left`, and its degrees of freedom."""
        df = sum(len(self.groups[group]) - 1 for group in left)
        squares = sum(float(((self.groups[group] - self.groups[group].mean()) ** 2).sum()) for group in left)
        variance = max(squares / df, self.resolution**2 / 12)
        return math.sqrt(variance * (self._share(one) + self._share(other))), df

    def pair(self, one: int, other: int) -> tuple[float, float]:
        """Return Welch's standard error of a difference, and its degrees of freedom."""
        parts = []
        for group in (one, other):
            variance = max(float(self.groups[group].var(ddof=1)), self.resolution**2 / 12)
            parts.append((variance * self._share(group), len(self.groups[group]) - 1))
        squares = sum(part for part, _ in parts)
        return math.sqrt(squares), squares**2 / sum(part**2 / df for part, df in parts)

    def _share(self, group: int) -> float:
        return 1 / len(self.groups[group]) + self.overlap


def compare_with_best(design: Design, alpha: float) -> tuple[int, list[Gap | None]]:
    """Compare each group with the best one, in rounds.

    Args:
        design: scores of at least two groups with at least two runs each, which are not all equal.
        alpha: probability that a difference is reported although there is none.

    Returns:
        The best group, and the gap of each group; None for the best one.
    """
    means = design.means
    best = int(means.argmax())
    gaps: list[Gap | None] = [None] * len(means)
    left, aside = list(range(len(means))), list[Gap]()
    while len(left) > 1:
        for group in [each for each in left if each != best]:
            common, pair = design.common(left, best, group), design.pair(best, group)
            margin = max(
                tukey.quantile(1 - alpha, len(left), common[1]) / math.sqrt(2) * common[0],
                student_quantile(1 - alpha / 2, pair[1]) * pair[0],
            )
            gaps[group] = Gap(float(means[best] - means[group]), margin, len(left), common, pair, tuple(aside))
        worse = [gap for gap in (gaps[group] for group in left) if gap is not None and gap.is_worse]
        if not worse:
            break
        left = [group for group in left if not is_worse(gaps[group])]
        aside += worse
    return best, gaps


def is_worse(gap: Gap | None) -> bool:
    """Return whether a gap shows that a group is worse."""
    return gap is not None and gap.is_worse


def noise(table: Values, resolution: float) -> float:
    """Return the residual variance of the scores, after removing the means of groups and seeds.

    Args:
        table: scores.
        resolution: resolution of the metric; the variance is at least that of its rounding, resolution**2 / 12.

    Shapes:
        table: (groups, seeds)
    """
    groups, seeds = table.shape
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    return max(float((rest**2).sum()) / ((groups - 1) * (seeds - 1)), resolution**2 / 12)


def noise_of_pair(differences: Values, resolution: float) -> float:
    """Return the variance of the differences of two groups by seed; see `noise`."""
    return max(float(differences.var(ddof=1)), resolution**2 / 6)


def resolution_of(values: Values) -> float:
    """Return the resolution of a metric: the smallest difference of two values that is not a rounding error.

    Without such a difference, it is the largest rounding error.
    """
    rounding, gaps = ROUNDING * float(np.abs(values).max()), np.diff(np.unique(values))
    gaps = gaps[gaps > rounding]
    return float(gaps.min()) if gaps.size else rounding


def student_quantile(probability: float, df: float) -> float:
    """Return a quantile of Student's t."""
    from scipy.special import stdtrit  # scipy.stats takes longer to import

    return float(stdtrit(df, probability))
