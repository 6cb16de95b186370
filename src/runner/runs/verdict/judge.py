"""Judge runs: group those that differ only in seed or fold, and compare the groups on the same data."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean, stdev

from runner.config.metric_mode import Mode
from runner.runs.tables import REPEATS, without
from runner.runs.verdict.decision import compare
from runner.runs.verdict.groups import Group, Verdict
from runner.runs.verdict.scores import Entry, mode_of

RACE = "runs of a race are not tested again: the sentence at the end of its sweep.md is the verdict"


def verdicts(entries: Iterable[Entry], metric: str | None = None) -> list[Verdict]:
    """Return a verdict for each dataset and metric, that of the most runs first.

    Args:
        entries: runs to compare.
        metric: metric to compare; None: the one that chose each run's best checkpoint.
    """
    entries = list(entries)
    chosen = None if metric is None else (metric, mode_of(metric, entries))
    parts: dict[str, list[Entry]] = {}
    for entry in entries:
        by = chosen or entry.chosen_by
        parts.setdefault(json.dumps([entry.data(), by, entry.raced], sort_keys=True, default=str), []).append(entry)
    found = [judge(same, *(chosen or same[0].chosen_by)) for same in parts.values()]
    return sorted(found, key=lambda verdict: -sum(len(group.runs) for group in verdict.groups))


def judge(entries: Sequence[Entry], metric: str, mode: Mode) -> Verdict:
    """Return the verdict about runs on the same data.

    Args:
        entries: runs to compare.
        metric: metric to compare.
        mode: whether less or more is better.
    """
    folds = {entry.value("dataset.fold") for entry in entries} - {None}
    count = entries[0].config.get("dataset.folds") if len(folds) > 1 else None
    groups = [gather(same, metric, count) for same in group_entries(entries)]
    if mode == "min":
        groups = [replace(group, scores={key: -value for key, value in group.scores.items()}) for group in groups]
    closing = RACE if entries[0].raced else ""
    verdict = compare(Verdict(entries[0].data(), metric, mode, groups, folds=count, closing=closing))
    sign = -1.0 if mode == "min" else 1.0
    return replace(verdict, groups=[describe(group, sign, count) for group in sort_groups(verdict.groups)])


def group_entries(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Return the runs of each group."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.group(), []).append(entry)
    return list(found.values())


def gather(entries: Sequence[Entry], metric: str, folds: int | None) -> Group:
    """Return a group with its scores: the mean for each seed, or for each fold of a cross-validation."""
    scores: dict[str, list[float]] = {}
    diverged = 0
    for entry in entries:
        score = entry.score(metric)
        if score is not None and math.isnan(score):
            diverged += 1
        elif score is not None:
            scores.setdefault(entry.block(by_fold=folds is not None), []).append(score)
    means = {key: fmean(found) for key, found in scores.items()}
    return Group(without(entries[0].keys, *REPEATS), [entry.name for entry in entries], means, diverged)


def sort_groups(groups: Sequence[Group]) -> list[Group]:
    """Return the groups in the order of their means, the best first, then those that diverged or have no score."""
    ranks = {"best": 0, "indistinguishable": 1, "worse": 1, "undecided": 1, "diverged": 2}
    return sorted(
        groups,
        key=lambda group: (
            ranks[group.verdict],
            not group.scores,
            -fmean(group.scores.values()) if group.scores else 0,
        ),
    )


def describe(group: Group, sign: float, folds: int | None) -> Group:
    """Return a group with its mean and standard error, in the direction of the metric.

    Args:
        group: group of which more is better in all scores.
        sign: -1 if less of the metric is better, else 1.
        folds: number of folds of a cross-validation, whose training sets overlap; None for seeds.
    """
    scores = {key: sign * value for key, value in group.scores.items()}
    if not scores:
        return group
    mean, n = fmean(scores.values()), len(scores)
    if n < 2:
        return replace(group, scores=scores, mean=mean)
    from runner.runs.verdict.procedure import student_quantile

    stderr = stdev(scores.values()) * math.sqrt(1 / n + (0 if folds is None else 1 / (folds - 1)))
    half = student_quantile(0.975, n - 1) * stderr
    return replace(group, scores=scores, mean=mean, stderr=stderr, interval=(mean - half, mean + half))
