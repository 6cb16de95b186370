"""The rule of a race: which groups are dropped after which number of seeds.

All groups run with the same seeds in the same order. Whenever every group in the race has run with the first 4, 6, 8,
... seeds, a look compares them: a group is dropped if two tests at the level of this look agree that it is worse than
the best. One uses the noise of all groups, with the seeds as blocks, and pays for having chosen the best from the same
results; the other one uses only the noise of the pair. The levels of all looks add up to alpha at most.

Source:
    Maron and Moore, "Hoeffding Races" (1993), for the idea.
    Lan and DeMets, "Discrete Sequential Boundaries for Clinical Trials" (1983), for spending alpha over the looks.
    Berger, "Multiparameter Hypothesis Testing and Acceptance Sampling" (1982), for tests that must agree.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # importing numpy and scipy takes a quarter of a second, and most sweeps are not races
    import numpy as np

    Table = np.ndarray[tuple[int, int], np.dtype[np.float64]]

FIRST = 4  # seeds of the first look
MANY = 10  # groups; with more, the noise of all groups is known well enough for a first look after 3 seeds
PERIOD = 2  # seeds between looks

# A finite score (more is better), NaN or infinity for a run that diverged, or the state of a run without a score.
Score = float | Literal["waiting", "failed"]


@dataclass(frozen=True)
class Exit:
    """A group that has left the race.

    Args:
        group: number of the group.
        seeds: number of seeds at the look.
        why: "worse" than the best, or too many of its runs have "diverged" or "failed".
        count: number of its runs that have diverged or failed.
        difference: by how much its mean is behind the best one; NaN if it was not compared.
        lower_bound: lower bound of the difference at the level of the look; NaN if it was not compared.
    """

    group: int
    seeds: int
    why: Literal["worse", "diverged", "failed"]
    count: int
    difference: float = math.nan
    lower_bound: float = math.nan


@dataclass
class Standing:
    """The state of a race.

    Args:
        live: numbers of the groups in the race.
        exits: groups that have left it, in this order.
        seeds: number of seeds at the last look; 0 before the first one.
        leader: group with the best mean at the last look; None if there is none.
        waiting: runs that the next look needs, as pairs of group and seed; none if the race is over.
    """

    live: list[int]
    exits: list[Exit] = field(default_factory=list)
    seeds: int = 0
    leader: int | None = None
    waiting: list[tuple[int, int]] = field(default_factory=list)


def looks(groups: int, most: int) -> list[int]:
    """Return the number of seeds at each look.

    Args:
        groups: number of groups at the start.
        most: maximum number of seeds.
    """
    return [*range(FIRST if groups <= MANY else FIRST - 1, most, PERIOD), most]


def replay(scores: Sequence[Sequence[Score]], alpha: float) -> Standing:
    """Return the state of a race, which depends on the scores alone.

    Args:
        scores: scores of each group by seed, for the maximum number of seeds.
        alpha: maximum probability of dropping the best group.
    """
    standing = Standing(list(range(len(scores))))
    for number, seeds in enumerate(looks(len(scores), len(scores[0])), start=1):
        live = standing.live
        standing.waiting = [
            (group, seed) for seed in range(seeds) for group in live if scores[group][seed] == "waiting"
        ]
        if standing.waiting:
            break
        standing.seeds = seeds
        leave(standing, scores)
        compare(standing, scores, alpha / (number * (number + 1)))
        if len(standing.live) <= 1:
            break
    return standing


def leave(standing: Standing, scores: Sequence[Sequence[Score]]) -> None:
    """Remove the groups of which a run has diverged, or more than half of the runs have failed."""
    for group in list(standing.live):
        known = scores[group][: standing.seeds]
        diverged = sum(isinstance(score, float) and not math.isfinite(score) for score in known)
        failed = known.count("failed")
        if diverged:
            standing.exits.append(Exit(group, standing.seeds, "diverged", diverged))
        elif 2 * failed > standing.seeds:
            standing.exits.append(Exit(group, standing.seeds, "failed", failed))
        else:
            continue
        standing.live.remove(group)


def compare(standing: Standing, scores: Sequence[Sequence[Score]], level: float) -> None:
    """Find the leader, and drop the groups that are significantly worse.

    Only seeds with which every live group has a score count; with fewer than two of them, no group is dropped.

    Args:
        standing: state of the race; it is updated.
        scores: scores of each group by seed.
        level: level of the look.
    """
    live = list(standing.live)
    shared = [seed for seed in range(standing.seeds) if all(scores[group][seed] != "failed" for group in live)]
    if len(live) < 2 or not shared:
        standing.leader = live[0] if live else None
        return
    import numpy as np

    table = np.array([[scores[group][seed] for seed in shared] for group in live], dtype=float)
    best = int(table.mean(axis=1).argmax())
    standing.leader = live[best]
    if len(shared) < 2:
        return
    for group, difference, margin in zip(live, *behind(table, best, level, len(scores) - 1), strict=True):
        if difference > margin:
            standing.exits.append(Exit(group, standing.seeds, "worse", 0, difference, difference - margin))
            standing.live.remove(group)


def behind(table: "Table", best: int, level: float, rivals: int) -> tuple[list[float], list[float]]:
    """Return by how much each group is behind the best one, and the margin that this has to exceed.

    Args:
        table: scores, of shape (groups, seeds).
        best: number of the best group.
        level: level of the look.
        rivals: number of groups at the start, without one.
    """
    from runner.runs.verdict.procedure import noise, noise_of_pair, resolution_of, student_quantile

    (groups, seeds), resolution = table.shape, resolution_of(table)
    differences = table[best] - table
    # The test with the noise of all groups shares the level among the rivals, because the best one was chosen here.
    quantile = student_quantile(1 - level / rivals, (groups - 1) * (seeds - 1))
    margin = quantile * math.sqrt(2 * noise(table, resolution) / seeds)
    # That with the noise of the pair need not, because both have to agree: the larger margin counts.
    quantile = student_quantile(1 - level, seeds - 1)
    of_pairs = [quantile * math.sqrt(noise_of_pair(each, resolution) / seeds) for each in differences]
    return [float(each.mean()) for each in differences], [max(margin, each) for each in of_pairs]
