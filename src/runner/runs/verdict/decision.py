"""Compare groups of runs as far as their runs allow it: by tests, exactly, or only by their order."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING

from runner.runs.verdict.groups import Group, Verdict, Word

if TYPE_CHECKING:  # importing numpy and scipy takes half a second, and runs without repeats need neither
    from runner.runs.verdict.procedure import Gap


def compare(verdict: Verdict) -> Verdict:
    """Return the verdict with the groups compared; more is better in all scores.

    Groups with more diverged runs than another one are set aside, and so are groups without scores and, if at least two
    groups have repeats, those with a single run. The others are

    - ranked, if every group has diverged runs, fewer than two groups have repeats, or a race has decided already;
    - compared exactly, if the seed changes nothing in any of them;
    - compared by tests otherwise, by those on pairs if they share enough seeds.
    """
    fewest = min(group.diverged for group in verdict.groups)
    aside = [replace(group, verdict="diverged") for group in verdict.groups if group.diverged > fewest]
    empty = [group for group in verdict.groups if group.diverged == fewest and not group.scores]
    left = [group for group in verdict.groups if group.diverged == fewest and group.scores]
    if empty and fewest > 0:
        empty = [replace(group, verdict="diverged") for group in empty]
    if not left:
        return replace(verdict, groups=[*aside, *empty])
    repeated, single = [group for group in left if group.n > 1], [group for group in left if group.n < 2]
    if fewest > 0 or len(repeated) < 2 or verdict.closing:
        return replace(verdict, groups=[*rank(left), *aside, *empty])
    if all(len(set(group.scores.values())) == 1 for group in repeated):
        return replace(verdict, groups=[*compare_exactly(repeated), *single, *aside, *empty], design="exact")
    tested, shared = compare_by_tests(repeated, verdict)
    whole = max(group.n for group in repeated)
    return replace(
        verdict,
        groups=[*tested, *single, *aside, *empty],
        design="independent" if shared is None else "paired",
        shared=shared if shared is not None and shared < whole else None,
    )


def rank(groups: Sequence[Group]) -> list[Group]:
    """Return the groups, of which the one with the best mean is called the best; nothing is tested."""
    best = max(groups, key=lambda group: fmean(group.scores.values()))
    return [replace(group, verdict="best" if group is best else "undecided") for group in groups]


def compare_exactly(groups: Sequence[Group]) -> list[Group]:
    """Return the groups, of which each has the same score for all seeds: their order is exact."""
    means = [next(iter(group.scores.values())) for group in groups]
    best = means.index(max(means))
    found = []
    for number, (group, mean) in enumerate(zip(groups, means, strict=True)):
        behind = means[best] - mean
        word: Word = "best" if number == best else "worse" if behind > 0 else "indistinguishable"
        difference = None if number == best else behind
        found.append(replace(group, verdict=word, difference=difference, p=1.0 if difference == 0 else None))
    return found


def compare_by_tests(groups: Sequence[Group], verdict: Verdict) -> tuple[list[Group], int | None]:
    """Return the groups with their tests, and the number of seeds they share; None if they are not paired.

    They are paired by the seeds that all share, if these are at least two and half of those of the largest group.
    Otherwise all scores count, as if the groups had run with different seeds.

    Args:
        groups: groups with at least two scores each.
        verdict: verdict about them.
    """
    import numpy as np

    from runner.runs.verdict.procedure import Independent, Paired, compare_with_best

    overlap = 0.0 if verdict.folds is None else 1 / (verdict.folds - 1)
    # Squares of the scores themselves could overflow, such as those of a perplexity, or become zero.
    unit = max(abs(score) for group in groups for score in group.scores.values())
    common = [key for key in groups[0].scores if all(key in group.scores for group in groups)]
    shared = len(common) if len(common) >= 2 and 2 * len(common) >= max(group.n for group in groups) else None
    if shared is not None:
        table = np.array([[group.scores[key] / unit for key in common] for group in groups])
        best, gaps = compare_with_best(Paired(table, overlap), verdict.alpha)
    else:
        scores = [np.array(list(group.scores.values())) / unit for group in groups]
        best, gaps = compare_with_best(Independent(scores, overlap), verdict.alpha)
    return [
        replace(groups[best], verdict="best") if gap is None else judge_group(group, gap, unit)
        for group, gap in zip(groups, gaps, strict=True)
    ], shared


def judge_group(group: Group, gap: "Gap", unit: float) -> Group:
    """Return a group with the result of its comparison with the best one.

    Args:
        group: a group that is not the best.
        gap: how far it is behind the best one.
        unit: unit of the gap.
    """
    difference, margin = unit * gap.difference, unit * gap.margin
    interval = (difference - margin, difference + margin)
    word: Word = "worse" if gap.is_worse else "indistinguishable"
    p = 1.0 if difference == 0 else gap.p
    return replace(group, difference=difference, difference_interval=interval, p=p, verdict=word)
