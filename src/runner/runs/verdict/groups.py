"""The verdict about groups of runs that differ only in seed or fold."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from runner.config.metric_mode import Mode

ALPHA = 0.05
Word = Literal["best", "worse", "indistinguishable", "undecided", "diverged"]
# How the groups were compared: not at all, by their order if the seeds change nothing, by tests, or by a race.
Design = Literal["order", "exact", "paired", "independent", "race"]


@dataclass(frozen=True)
class Group:
    """The verdict about a group of runs that differ only in seed or fold.

    Args:
        values: config values that tell the group from the others.
        runs: names of its runs.
        scores: finite scores of its finished runs, by seed or fold.
        diverged: number of runs that diverged.
        mean: mean of the scores; None if there is none.
        stderr: standard error of the mean; None for fewer than two runs.
        interval: 95% confidence interval of the mean.
        difference: how far the mean is behind that of the best group, in the unit of the metric; negative if ahead.
        difference_interval: interval of the difference, corrected for the number of groups.
        p: p-value of the difference, corrected for the number of groups.
        verdict: verdict in a word.
        note: what a race says about the group, instead of a test.
    """

    values: dict[str, Any]
    runs: list[str]
    scores: dict[str, float]
    diverged: int = 0
    mean: float | None = None
    stderr: float | None = None
    interval: tuple[float, float] | None = None
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None
    p: float | None = None
    verdict: Word = "undecided"
    note: str = ""

    @property
    def n(self) -> int:
        """The number of seeds or folds with a score."""
        return len(self.scores)

    def as_json(self) -> dict[str, Any]:
        """Return the group as an entry of "groups" in sweep.json."""
        kept = ("values", "n", "mean", "stderr", "interval", "difference", "difference_interval", "p", "verdict")
        found = asdict(self) | {"n": self.n}
        return {key: found[key] for key in kept} | {"diverged": self.diverged, "runs": self.runs}


@dataclass(frozen=True)
class Verdict:
    """The verdict about groups on the same data.

    Args:
        data: config values that identify the data.
        metric: metric of the comparison.
        mode: whether less or more is better.
        groups: the groups, the best first.
        design: how the groups were compared.
        shared: number of seeds or folds that all groups share, if the comparison used only those; else None.
        folds: number of folds of a cross-validation; None for seeds.
        alpha: probability of reporting a difference although there is none.
        closing: what a race says in the end; its runs are not tested again.
    """

    data: dict[str, Any]
    metric: str
    mode: Mode
    groups: list[Group]
    design: Design = "order"
    shared: int | None = None
    folds: int | None = None
    alpha: float = ALPHA
    closing: str = ""
