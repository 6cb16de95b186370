"""A verdict in words. It never claims that groups are equal, only that they cannot be told apart."""

import math
from collections.abc import Sequence
from typing import Any

from runner.runs.tables import one_line, show
from runner.runs.verdict.groups import Group, Verdict


def as_json(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as it is in sweep.json."""
    return {
        "metric": verdict.metric,
        "mode": verdict.mode,
        "alpha": verdict.alpha,
        "dataset": verdict.data.get("dataset.name"),
        "sentence": sentence(verdict),
        "groups": [group.as_json() for group in verdict.groups],
    }


def all_as_json(found: Sequence[Verdict]) -> dict[str, Any]:
    """Return the keys of verdicts in a JSON file: `verdict`, that of the most runs, and all if there are several."""
    several = {"verdicts": [as_json(verdict) for verdict in found]} if len(found) > 1 else {}
    return {"verdict": as_json(found[0]) if found else None, **several}


def as_markdown(found: Sequence[Verdict]) -> list[str]:
    """Return the paragraphs of a Markdown file: a list of lines for each dataset with more than one group."""
    return [
        "\n".join(f"- {line}" for line in [*heading(verdict, found), *lines(verdict)]) for verdict in compared(found)
    ]


def as_text(found: Sequence[Verdict], most: int, rest: str) -> list[str]:
    """Return lines for a terminal.

    Args:
        found: verdicts, one for each dataset.
        most: maximum number of lines for each dataset.
        rest: where the other lines are.
    """
    shown = []
    for verdict in compared(found):
        groups, more = [about(group, verdict) for group in verdict.groups], notes(verdict)
        is_ranking = verdict.design == "order" and sum(group.n > 0 for group in verdict.groups) > 1
        if is_ranking and len(more) == 1 and not verdict.closing:
            groups = []  # the table shows it
        left_out = len(groups) - most
        cut = [*groups[:most], f"... and {left_out} more groups in {rest}"] if left_out > 0 else groups
        shown += [*heading(verdict, found), *cut, *more]
    return shown


def compared(found: Sequence[Verdict]) -> list[Verdict]:
    """Return the verdicts that compare something: several groups, or repeats."""
    return [verdict for verdict in found if len(verdict.groups) > 1 or any(group.n > 1 for group in verdict.groups)]


def heading(verdict: Verdict, found: Sequence[Verdict]) -> list[str]:
    """Return a line that names the data and the metric, if there are verdicts about several."""
    name = verdict.data.get("dataset.name")
    return [f"on {name} by {verdict.metric}:"] if len(compared(found)) > 1 else []


def lines(verdict: Verdict) -> list[str]:
    """Return a line about each group, the best first, followed by what restricts the verdict."""
    return [*(about(group, verdict) for group in verdict.groups), *notes(verdict)]


def sentence(verdict: Verdict) -> str:
    """Return the whole verdict as one text."""
    if verdict.closing:
        return verdict.closing
    best = next((group for group in verdict.groups if group.verdict == "best"), None)
    parts = [] if best is None else [about(best, verdict)]
    for word, what in (("worse", "worse"), ("indistinguishable", "cannot be told apart from the best")):
        names = [title(group) for group in verdict.groups if group.verdict == word]
        if names:
            parts.append(f"{what}: {'; '.join(names)}")
    parts += [about(group, verdict) for group in verdict.groups if group.verdict == "diverged" or group.mean is None]
    return ". ".join([*parts, *notes(verdict)])


def title(group: Group) -> str:
    """Return the config values of a group, as they would be typed."""
    values = [f"{key}={'null' if value is None else show(value)}" for key, value in group.values.items()]
    return one_line(",".join(values)) or "this group"


def about(group: Group, verdict: Verdict) -> str:
    """Return a line about a group."""
    name = title(group)
    if group.note:
        return group.note
    if group.verdict == "best":
        word = "leader" if verdict.design == "race" else "best"
        return f"{word} {name}: {verdict.metric} {amount(group, verdict)}"
    if group.verdict == "diverged":
        return f"{name} diverged in {group.diverged} of {len(group.runs)} runs: not compared"
    if group.mean is None:
        return f"{name}: no completed run, not compared"
    if group.difference is None and verdict.design == "race":
        return f"{name} is not separated from the leader: {verdict.metric} {amount(group, verdict)}"
    if group.difference is None:
        return f"{name}: {verdict.metric} {amount(group, verdict)}"
    if group.difference_interval is None:  # the seed changes nothing
        return f"{name} is worse by {show(group.difference)}" if group.difference else f"{name} is tied with the best"
    low, high = group.difference_interval
    numbers = decimals(high - group.difference, group.difference, low, high)
    behind, interval = numbers[0], f"{numbers[1]} to {numbers[2]}"
    if group.verdict == "worse":
        count = sum(each.difference_interval is not None for each in verdict.groups) + 1
        corrected = f", corrected for {count} groups" if count > 2 else ""
        return f"{name} is worse by {behind} (95% confidence interval {interval}, {p_value(group)}{corrected})"
    tie = f"behind by {behind}" if group.difference else "the same mean"
    return f"{name} cannot be told apart from the best: {tie} ({interval}, {p_value(group)})"


def notes(verdict: Verdict) -> list[str]:
    """Return what restricts the verdict."""
    if verdict.closing:
        return [verdict.closing]
    found, most = [], max((group.n for group in verdict.groups), default=0)
    scored = [group for group in verdict.groups if group.n]
    margins = [high - low for low, high in (group.difference_interval or (0.0, 0.0) for group in verdict.groups)]
    unit = "seeds" if verdict.folds is None else "folds"
    if not scored:
        found.append("every run diverged" if any(group.diverged for group in verdict.groups) else "no completed run")
    elif verdict.design == "order" and len(scored) > 1:
        if min(group.diverged for group in verdict.groups) > 0:
            found.append("runs of every group diverged: a ranking of the others, not a verdict")
        else:
            found.append(
                "one run each: a ranking, not a verdict"
                if most == 1
                else "only one group has repeats: a ranking, not a verdict"
            )
    elif verdict.design == "exact":
        found.append("the seed changes nothing: exact on these data only")
    elif verdict.design != "order" and not any(group.verdict == "worse" for group in verdict.groups):
        found.append(f"no group is significantly worse; differences below {show(max(margins) / 2)} would not show")
    if verdict.design in ("paired", "independent") and most == 2:
        found.append("two runs each: only huge differences show")
    if verdict.design == "independent":
        found.append(f"the groups share too few {unit}: compared as independent runs")
    if verdict.shared is not None:
        found.append(f"compared on the {verdict.shared} {unit} that all groups share")
    if verdict.folds is not None and most > 1:
        found.append(f"{verdict.folds} folds of one data set, corrected for overlapping training sets")
    if verdict.metric.startswith("test/") and len(scored) > 1:
        found.append("the best group was chosen on the test split, so its value there is optimistically biased")
    return found


def amount(group: Group, verdict: Verdict) -> str:
    """Return the mean of a group with its standard error and the number of runs."""
    assert group.mean is not None
    unit = "seed" if verdict.folds is None else "fold"
    if group.stderr is None:
        return f"{show(group.mean)}, 1 run"
    mean, error = decimals(group.stderr, group.mean, group.stderr)
    return f"{mean} ± {error} (standard error of {group.n} {unit}s)"


def p_value(group: Group) -> str:
    """Return the p-value of a group."""
    assert group.p is not None
    return "p<0.001" if group.p < 0.001 else f"p={group.p:.2g}"


def decimals(precision: float, *values: float) -> list[str]:
    """Return values with as many decimals as a number of two significant digits of this size has.

    If that is more than 12 decimals, or the values would have more than 15 digits, they are in scientific notation.
    """
    if not 1e-11 <= precision < 1e15:
        return [show(value) for value in values]
    places = max(1 - math.floor(math.log10(precision)), 0)
    return [f"{value:.{places}f}" for value in values]
