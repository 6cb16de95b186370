import pytest

from runner.runs.latex import as_latex, escape
from runner.runs.verdict.judge import verdicts
from runs.verdict.entries import BAD, GOOD, MIDDLE, group, run


def test_table_has_a_row_for_each_group_with_the_best_in_bold() -> None:
    noisy = [0.05, 0.09, 0.04, 0.05, 0.06]
    runs = [
        *group(GOOD, lr=1, model__name="a_b"),
        *group(noisy, lr=2, model__name="c"),
        *group(BAD, lr=3, model__name="c"),
    ]
    assert as_latex(verdicts(runs)).splitlines() == [
        r"% \usepackage{booktabs}",
        r"\begin{tabular}{llrrrr}",
        r"\toprule",
        r"lr & model.name & $n$ & val/loss & behind by & $p$ \\",
        r"\midrule",
        r"1 & a\_b & 5 & $\mathbf{0.0480 \pm 0.0037}$ &  &  \\",
        r"2 & c & 5 & $0.0580 \pm 0.0086$$^{\dagger}$ & $0.010$ & $0.43$ \\",
        r"3 & c & 5 & $0.0880 \pm 0.0058$ & $0.040$ & $0.012$ \\",
        r"\bottomrule",
        r"\multicolumn{6}{l}{$^{\dagger}$ cannot be told apart from the best} \\",
        r"\end{tabular}",
    ]


def test_notes_are_comments_and_single_runs_have_no_p_value() -> None:
    lines = as_latex(verdicts([*group([0.1], lr=1), *group([0.2], lr=2), run(None, "diverged", lr=3)])).splitlines()
    assert lines[1] == "% one run each: a ranking, not a verdict"
    assert lines[4:] == [
        r"lr & $n$ & val/loss \\",
        r"\midrule",
        r"1 & 1 & $\mathbf{0.1}$ \\",
        r"2 & 1 & $0.2$ \\",
        r"3 & 0 & diverged \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_each_dataset_has_a_table() -> None:
    mnist = [run(loss, seed=seed, lr=lr, dataset__name="mnist") for lr in (1, 2) for seed, loss in enumerate(MIDDLE)]
    text = as_latex(verdicts([*mnist, *group(GOOD, lr=1), *group(BAD, lr=2)]))
    assert text.count(r"\begin{tabular}") == 2


@pytest.mark.parametrize("text", ["a_b", "50%", r"\input{secrets}", "~^&$#{}"])
def test_special_characters_are_escaped(text: str) -> None:
    escaped = escape(text)
    for letter in "_%&$#":
        assert escaped.count(letter) == escaped.count("\\" + letter)
    assert r"\input" not in escaped
