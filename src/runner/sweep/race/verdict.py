"""The verdict of a race, which is that of its last look: a test on the same seeds would spend alpha a second time."""

from collections.abc import Callable
from dataclasses import replace

from runner.runs.verdict.groups import Group, Verdict, Word
from runner.runs.verdict.judge import describe, gather
from runner.runs.verdict.scores import Entry
from runner.sweep.jobs import Job
from runner.sweep.race.race import Race


def race_verdict(race: Race, entry: Callable[[Job], Entry]) -> Verdict:
    """Return the verdict about the groups of a race: those in the race, the leader first, then those that left it.

    Args:
        race: the race.
        entry: returns a job as a run to be compared.
    """
    first, standing = entry(race.sweep.jobs[0]), race.standing()
    metric, mode = first.chosen_by
    groups = [describe(gather([entry(job) for job in group.jobs], metric, None), 1.0, None) for group in race.groups]
    sign = 1 if mode == "min" else -1
    live = sorted(standing.live, key=lambda number: (number != standing.leader, sign * (groups[number].mean or 0.0)))
    found = [in_race(groups[number], number == standing.leader) for number in live]
    for left in reversed(standing.exits):
        note, compared = race.describe(left), left.why == "worse"
        difference = left.difference if compared else None
        word: Word = "worse" if compared else "diverged" if left.why == "diverged" else "undecided"
        found.append(replace(groups[left.group], verdict=word, difference=difference, note=note))
    alpha = race.sweep.settings.race.alpha
    return Verdict(first.data(), metric, mode, found, design="race", alpha=alpha, closing=race.sentence())


def in_race(group: Group, leads: bool) -> Group:
    """Return a group that has not left the race."""
    return replace(group, verdict="best" if leads else "undecided" if group.n < 2 else "indistinguishable")
