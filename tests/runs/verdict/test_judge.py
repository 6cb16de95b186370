"""Tests of which comparison the runs allow. `test_procedure.py` tests the statistics."""

import math

import pytest

from runner.runs.verdict.groups import Verdict
from runner.runs.verdict.judge import verdicts
from runs.verdict.entries import BAD, FOLDS, GOOD, MIDDLE, group, run


def words(verdict: Verdict) -> dict[object, str]:
    return {each.values.get("lr"): each.verdict for each in verdict.groups}


def test_groups_are_compared_with_the_best_one() -> None:
    (verdict,) = verdicts([*group(MIDDLE, lr=2), *group(BAD, lr=3), *group(GOOD, lr=1)])
    assert [each.values for each in verdict.groups] == [{"lr": 1}, {"lr": 2}, {"lr": 3}]
    assert words(verdict) == {1: "best", 2: "worse", 3: "worse"}
    best, _, bad = verdict.groups
    assert best.mean == pytest.approx(0.048)
    assert best.stderr == pytest.approx(0.00374, rel=1e-2)
    assert best.interval == pytest.approx((0.0376, 0.0584), rel=1e-2)
    assert bad.difference == pytest.approx(0.040)
    assert bad.difference_interval == pytest.approx((0.0276, 0.0524), rel=1e-2)
    assert bad.p == pytest.approx(0.00086, rel=1e-2)
    assert (verdict.metric, verdict.mode, verdict.design) == ("val/loss", "min", "paired")


def test_another_metric_turns_the_direction() -> None:
    runs = [
        run(0.5, seed=seed, lr=lr, results={"test": {"accuracy": lr / 10 + seed / 1000 + (lr * seed % 3) / 1000}})
        for lr in (1, 2)
        for seed in range(5)
    ]
    (verdict,) = verdicts(runs, "test/accuracy")
    assert words(verdict) == {2: "best", 1: "worse"}
    assert verdict.groups[1].difference == pytest.approx(0.1, abs=0.01)


def test_one_run_each_is_an_order() -> None:
    (verdict,) = verdicts([*group([0.2], lr=1), *group([0.1], lr=2), *group([0.3], lr=3)])
    assert [each.values["lr"] for each in verdict.groups] == [2, 1, 3]
    assert words(verdict) == {2: "best", 1: "undecided", 3: "undecided"}
    assert verdict.design == "order"
    assert verdict.groups[1].p is None


def test_groups_with_more_diverged_runs_are_set_aside() -> None:
    runs = [*group(GOOD, lr=1), *group(BAD, lr=3), *group([0.001] * 4, lr=9), run(None, "diverged", seed=4, lr=9)]
    (verdict,) = verdicts(runs)
    assert words(verdict) == {1: "best", 3: "worse", 9: "diverged"}
    assert [each.diverged for each in verdict.groups] == [0, 0, 1]


def test_groups_that_all_diverged_are_only_ordered() -> None:
    runs = [*group([0.2, 0.21], lr=1), *group([0.1, 0.12], lr=2)]
    runs += [run(None, "diverged", seed=9, lr=1), run(math.inf, seed=9, lr=2)]
    (verdict,) = verdicts(runs)
    assert words(verdict) == {2: "best", 1: "undecided"}
    assert verdict.design == "order"


def test_missing_runs_leave_the_seeds_that_all_share() -> None:
    runs = [*group(GOOD, lr=1), *group(BAD[:4], lr=3), run(0.0, "failed", seed=4, lr=3)]
    (verdict,) = verdicts(runs)
    assert (verdict.design, verdict.shared) == ("paired", 4)
    assert words(verdict) == {1: "best", 3: "worse"}
    assert [each.n for each in verdict.groups] == [5, 4]


def test_groups_that_share_too_few_seeds_are_compared_as_independent() -> None:
    other = [run(loss, seed=10 + seed, lr=3) for seed, loss in enumerate(BAD)]
    (verdict,) = verdicts([*group(GOOD, lr=1), *other, run(0.01, seed=3, lr=4)])
    assert verdict.design == "independent"
    assert words(verdict) == {1: "best", 3: "worse", 4: "undecided"}  # a single run cannot be compared


def test_group_with_a_single_run_does_not_change_how_the_others_are_compared() -> None:
    (without,) = verdicts([*group(GOOD, lr=1), *group(MIDDLE, lr=2), *group(BAD, lr=3)])
    (verdict,) = verdicts([*group(GOOD, lr=1), *group(MIDDLE, lr=2), *group(BAD, lr=3), run(0.01, seed=3, lr=4)])
    assert (verdict.design, verdict.shared) == ("paired", None)
    assert words(verdict) == words(without) | {4: "undecided"}


def test_group_with_a_single_run_is_not_compared_exactly() -> None:
    (verdict,) = verdicts([*group([0.2] * 3, lr=1), *group([0.1] * 3, lr=2), run(0.01, lr=3)])
    assert words(verdict) == {2: "best", 1: "worse", 3: "undecided"}


def test_seeds_that_change_nothing_leave_an_exact_order() -> None:
    (verdict,) = verdicts([*group([0.2] * 3, lr=1), *group([0.1] * 3, lr=2), *group([0.1] * 3, lr=3)])
    assert verdict.design == "exact"
    assert words(verdict) == {2: "best", 3: "indistinguishable", 1: "worse"}
    assert [each.p for each in verdict.groups] == [None, 1.0, None]


def test_equal_means_are_not_told_apart() -> None:
    (verdict,) = verdicts([*group([0.1, 0.2, 0.3], lr=1), *group([0.3, 0.1, 0.2], lr=2)])
    assert words(verdict) == {1: "best", 2: "indistinguishable"}
    assert verdict.groups[1].p == 1.0


ULP = 2.0**-52  # the difference of 1 and the next larger number


def test_differences_by_rounding_are_not_told_apart() -> None:
    (verdict,) = verdicts([*group([1.0, 1 + 2 * ULP], lr=1), *group([1 + 2 * ULP, 1 + 4 * ULP], lr=2)])
    assert words(verdict) == {1: "best", 2: "indistinguishable"}
    assert verdict.groups[1].p == pytest.approx(1.0, abs=1e-3)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("unit", [1e-200, 1.0, 1e200])
@pytest.mark.parametrize("first", [0, 10])
def test_verdict_does_not_depend_on_the_unit_of_the_metric(unit: float, first: int) -> None:
    behind = [run(unit * loss, seed=first + seed, lr=2) for seed, loss in enumerate(BAD)]
    (verdict,) = verdicts([*group([unit * loss for loss in GOOD], lr=1), *behind])
    assert words(verdict) == {1: "best", 2: "worse"}
    assert verdict.design == ("independent" if first else "paired")
    best, bad = verdict.groups
    assert [best.mean, bad.difference] == pytest.approx([0.048 * unit, 0.040 * unit], rel=1e-6, abs=0)
    assert best.stderr == pytest.approx(0.00374 * unit, rel=1e-2, abs=0)


def test_seeds_of_a_fold_are_averaged_and_folds_corrected() -> None:
    runs = [
        run(loss + 0.001 * seed, lr=lr, seed=seed, dataset__fold=fold, **FOLDS)
        for lr, losses in ((1, GOOD), (2, MIDDLE), (3, BAD))
        for fold, loss in enumerate(losses)
        for seed in (0, 1)
    ]
    (verdict,) = verdicts(runs)
    assert verdict.folds == 5
    assert [each.n for each in verdict.groups] == [5, 5, 5]
    assert words(verdict) == {1: "best", 2: "indistinguishable", 3: "worse"}  # without the correction, 2 is worse
    assert verdict.groups[1].p == pytest.approx(0.103, rel=1e-2)


def test_runs_on_different_data_or_by_different_metrics_are_not_compared() -> None:
    mnist = [run(0.01, seed=seed, lr=3, dataset__name="mnist") for seed in range(2)]
    by_accuracy = run(0.5, lr=4, results={"best": {"metric": "val/accuracy", "value": 0.9}})
    found = verdicts([*mnist, *group(GOOD, lr=1), by_accuracy])
    assert [(verdict.data["dataset.name"], verdict.metric) for verdict in found] == [
        ("digits", "val/loss"),
        ("mnist", "val/loss"),
        ("digits", "val/accuracy"),
    ]
    assert [words(verdict) for verdict in found] == [{1: "best"}, {3: "best"}, {4: "best"}]


def test_groups_without_a_score_are_undecided() -> None:
    (verdict,) = verdicts([run(None, "failed", lr=1), run(None, "running", lr=2)])
    assert words(verdict) == {1: "undecided", 2: "undecided"}
    assert verdict.groups[0].mean is None
