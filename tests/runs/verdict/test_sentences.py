import json

import pytest

from runner.runs.verdict import sentences
from runner.runs.verdict.groups import Verdict
from runner.runs.verdict.judge import verdicts
from runner.runs.verdict.scores import Entry
from runs.verdict.entries import BAD, FOLDS, GOOD, MIDDLE, group, run


def judged(*runs: Entry) -> Verdict:
    (verdict,) = verdicts(runs)
    return verdict


def test_lines_name_the_best_group_and_what_is_behind_it() -> None:
    noisy = [0.05, 0.09, 0.04, 0.05, 0.06]
    verdict = judged(*group(GOOD, lr=1), *group(noisy, lr=2), *group(BAD, lr=3))
    assert sentences.lines(verdict) == [
        "best lr=1: val/loss 0.0480 ± 0.0037 (standard error of 5 seeds)",
        "lr=2 cannot be told apart from the best: behind by 0.010 (-0.022 to 0.042, p=0.43)",
        "lr=3 is worse by 0.040 (95% confidence interval 0.010 to 0.070, p=0.012, corrected for 3 groups)",
    ]
    assert sentences.sentence(verdict) == (
        "best lr=1: val/loss 0.0480 ± 0.0037 (standard error of 5 seeds). worse: lr=3. "
        "cannot be told apart from the best: lr=2"
    )


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        (1e-14, "4.8e-16 ± 3.742e-17"),
        (1e-8, "0.000000000480 ± 0.000000000037"),
        (1e6, "48000 ± 3742"),
        (1e20, "4.8e+18 ± 3.742e+17"),
    ],
)
def test_very_small_and_very_large_metrics_are_readable(unit: float, text: str) -> None:
    first, *_ = sentences.lines(judged(*group([unit * loss for loss in GOOD], lr=1), *group([9.0 * unit] * 2, lr=2)))
    assert first == f"best lr=1: val/loss {text} (standard error of 5 seeds)"


@pytest.mark.parametrize(
    ("runs", "note"),
    [
        ([*group([0.1], lr=1), *group([0.2], lr=2)], "one run each: a ranking, not a verdict"),
        ([*group([0.1, 0.2], lr=1), *group([0.2], lr=2)], "only one group has repeats: a ranking, not a verdict"),
        ([*group([0.1, 0.2], lr=1), *group([0.2, 0.4], lr=2)], "two runs each: only huge differences show"),
        ([*group([0.1, 0.1], lr=1), *group([0.2, 0.2], lr=2)], "the seed changes nothing: exact on these data only"),
        ([run(None, "diverged", lr=1), run(None, "diverged", lr=2)], "every run diverged"),
        ([run(None, "failed", lr=1), run(None, "running", lr=2)], "no completed run"),
        (
            [*group([0.1, 0.2], lr=1), *group([0.2, 0.4], lr=2), *(run(None, "diverged", lr=lr) for lr in (1, 2))],
            "runs of every group diverged: a ranking of the others, not a verdict",
        ),
        (
            [run(loss, lr=lr, dataset__fold=fold, **FOLDS) for lr in (1, 2) for fold, loss in enumerate(GOOD[lr:])],
            "5 folds of one data set, corrected for overlapping training sets",
        ),
        ([*group(GOOD, lr=1), *group(BAD[:4], lr=2)], "compared on the 4 seeds that all groups share"),
    ],
)
def test_notes_say_what_restricts_the_verdict(runs: list[Entry], note: str) -> None:
    assert note in sentences.notes(judged(*runs))


def test_note_says_which_differences_would_not_show() -> None:
    (note,) = sentences.notes(judged(*group([0.1, 0.2, 0.15], lr=1), *group([0.2, 0.1, 0.16], lr=2)))
    assert note.startswith("no group is significantly worse; differences below 0.2")


def test_diverged_group_is_named_with_its_number_of_runs() -> None:
    verdict = judged(*group(GOOD, lr=1), *group([0.1], lr=9), run(None, "diverged", seed=1, lr=9))
    assert "lr=9 diverged in 1 of 2 runs: not compared" in sentences.lines(verdict)


def test_choice_on_the_test_split_is_pointed_out() -> None:
    runs = [run(0.5, seed=seed, lr=lr, results={"test": {"loss": lr + 0.1 * seed}}) for lr in (1, 2) for seed in (0, 1)]
    (verdict,) = verdicts(runs, "test/loss")
    assert (
        "the best group was chosen on the test split, so its value there is optimistically biased"
        in sentences.notes(verdict)
    )


def test_no_sentence_claims_that_groups_are_equal() -> None:
    tied = judged(*group([0.1, 0.2, 0.3], lr=1), *group([0.3, 0.1, 0.2], lr=2))
    text = " ".join(sentences.lines(tied))
    assert "cannot be told apart from the best: the same mean" in text
    assert not any(word in text for word in ("equal", "no difference", "95% sure"))


def test_long_verdicts_are_cut_for_a_terminal() -> None:
    verdict = judged(*(each for lr in range(20) for each in group([0.1 + lr, 0.11 + lr, 0.1 + lr], lr=lr)))
    shown = sentences.as_text([verdict], most=5, rest="sweep.md")
    assert len(shown) == 6
    assert shown[-1] == "... and 15 more groups in sweep.md"


def test_terminal_shows_the_only_group_with_completed_folds() -> None:
    folds = [run(loss, lr=1, dataset__fold=fold, **FOLDS) for fold, loss in enumerate(GOOD)]
    verdict = judged(*folds, run(None, "failed", lr=2, dataset__fold=0, **FOLDS))
    best, failed, _ = sentences.as_text([verdict], most=5, rest="sweep.md")
    assert best.startswith("best lr=1: val/loss ")
    assert failed == "lr=2: no completed run, not compared"


def test_verdicts_about_several_datasets_have_headings() -> None:
    found = verdicts([*group(GOOD, lr=1), *(run(0.1, seed=seed, lr=1, dataset__name="mnist") for seed in (0, 1))])
    shown = sentences.as_text(found, most=5, rest="sweep.md")
    assert [line for line in shown if line.startswith("on ")] == ["on digits by val/loss:", "on mnist by val/loss:"]


def test_json_has_the_keys_of_the_contract() -> None:
    found = sentences.all_as_json([judged(*group(GOOD, lr=1), *group(MIDDLE, lr=2))])
    assert list(found) == ["verdict"]
    assert {"metric", "mode", "alpha", "sentence", "groups"} < found["verdict"].keys()
    keys = ("values", "n", "mean", "stderr", "interval", "difference", "difference_interval", "p", "verdict")
    assert all(set(keys) < each.keys() for each in found["verdict"]["groups"])
    json.dumps(found)


def test_json_of_a_running_sweep_has_no_verdict() -> None:
    assert sentences.all_as_json([]) == {"verdict": None}


def test_values_cannot_control_the_terminal() -> None:
    shown = sentences.lines(judged(*group(GOOD, name="a\x1b[31m\nb"), *group(BAD, name="c")))
    assert not any("\x1b" in line or "\n" in line for line in shown)


def test_sentence_names_groups_without_a_completed_run() -> None:
    verdict = judged(*group(GOOD, lr=1), *group(BAD, lr=2), run(None, "failed", lr=3))
    assert "lr=3: no completed run, not compared" in sentences.sentence(verdict)
