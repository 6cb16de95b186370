import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from runner import cli
from runner.config.composition import CONF
from runner.errors import ConfigError
from runner.runs.compare import Comparison
from runner.runs.formats import render
from runner.runs.found import find_runs
from runs.test_compare import compared, write


def test_repeats_are_shown_with_mean_and_standard_deviation(tmp_path: Path) -> None:
    for seed, best in enumerate((0.1, 0.3)):
        write(tmp_path / f"a{seed}", "optim.lr=0.1", f"seed={seed}", best=best)
        write(tmp_path / f"b{seed}", "optim.lr=0.2", f"seed={seed}", best=best + 0.5)
    comparison = compared(tmp_path)
    first, second = comparison.groups()
    assert (first.keys, first.n, second.n) == ({"optim.lr": 0.1}, 2, 2)
    assert "0.2 ± 0.1414" in render(comparison, "table")
    lines = render(comparison, "table").splitlines()
    assert lines[-7:-4] == ["1: a0, a1", "2: b0, b1", ""]
    assert lines[-4:-2] == [
        "best optim.lr=0.1: val/loss 0.20 ± 0.10 (standard error of 2 seeds)",
        "optim.lr=0.2 cannot be told apart from the best: behind by 0.50 (-0.23 to 1.23, p=0.073)",
    ]
    assert "| 2 | 0.2 ± 0.1414 | 0.2 ± 0.1414 | 0.8 ± 0.1414 | 0.1 | a0, a1 |" in render(comparison, "md")


def test_every_format_contains_the_verdict(tmp_path: Path) -> None:
    for seed, loss in enumerate((0.10, 0.11, 0.12)):
        write(tmp_path / f"a{seed}", "optim.lr=0.1", f"seed={seed}", best=loss)
        write(tmp_path / f"b{seed}", "optim.lr=0.2", f"seed={seed}", best=loss + 0.5 + 0.001 * seed**2)
    comparison = compared(tmp_path)
    worse = "optim.lr=0.2 is worse by 0.502 (95% confidence interval 0.492 to 0.512, p<0.001)"
    assert worse in render(comparison, "table")
    assert f"- {worse}" in render(comparison, "md")
    assert r"0.2 & 3 & $0.6117 \pm 0.0069$ & $0.502$ & $<0.001$" in render(comparison, "latex")
    found = json.loads(render(comparison, "json"))["verdict"]
    assert [(each["values"], each["verdict"]) for each in found["groups"]] == [
        ({"optim.lr": 0.1}, "best"),
        ({"optim.lr": 0.2}, "worse"),
    ]
    rows = list(csv.DictReader(io.StringIO(render(comparison, "csv"))))
    assert [row["verdict"] for row in rows] == ["best"] * 3 + ["worse"] * 3
    comparison.choose_metric("test/accuracy")
    assert comparison.verdicts()[0].mode == "max"
    assert "best optim.lr=0.1: test/accuracy 0.8900 ± 0.0058" in render(comparison, "table")


def test_unknown_metric_of_the_verdict_is_rejected(tmp_path: Path) -> None:
    write(tmp_path / "a", best=0.5)
    with pytest.raises(ConfigError, match=r"--metric: found 'test/acc'; .* Did you mean test/accuracy\?"):
        compared(tmp_path).choose_metric("test/acc")


def test_labels_of_the_verdict_are_the_main_keys_that_differ(tmp_path: Path) -> None:
    write(tmp_path / "a", "optim=adam", best=0.5)
    write(tmp_path / "b", "optim=sgd", best=0.4)
    (verdict,) = compared(tmp_path).verdicts()
    assert [group.values for group in verdict.groups] == [{"optim.name": "sgd"}, {"optim.name": "adam"}]


def recipes(folder: Path) -> Comparison:
    """Return a comparison of all recipes and a sweep over seeds."""
    for number, recipe in enumerate(sorted((CONF / "experiment").glob("*.yaml"))):
        write(folder / "2026-11-24" / f"10-{number}-00_{recipe.stem}", f"experiment={recipe.stem}", best=10.0**number)
    for seed in range(3):
        write(folder / "2026-11-25" / "12-00-00_sweep_lenet_digits" / f"seed={seed}", f"seed={seed}", best=0.5)
    return compared(folder)


def test_table_of_different_recipes_fits_the_terminal(tmp_path: Path) -> None:
    comparison = recipes(tmp_path)
    for width in (80, 120):
        lines = render(comparison, "table", width).splitlines()
        assert max(map(len, lines)) <= width
        assert lines[0].split("  ")[0] == "run"
        assert all(name in lines[0] for name in ("best val/loss", "test/loss", "test/accuracy"))
        assert "columns left out, to choose: --columns KEY,..." in lines[-1]
        assert "12-00-00_sweep_lenet_digits/seed=2" in "".join(lines)


@pytest.mark.parametrize("kind", ["table", "csv", "md", "json"])
def test_columns_can_be_chosen(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "a", best=0.25)
    write(tmp_path / "b", "seed=1", best=0.5)
    comparison = compared(tmp_path)
    comparison.choose(["test/accuracy", "optim.lr"])
    text = render(comparison, kind)
    assert text.index("run") < text.index("test/accuracy") < text.index("optim.lr")
    assert ("0.75" in text, "0.01" in text, "completed" in text) == (True, True, False)


def test_damaged_and_running_folders_are_listed_with_their_status(tmp_path: Path) -> None:
    write(tmp_path / "running", status="running")
    (write(tmp_path / "no_results") / "results.json").unlink()
    (write(tmp_path / "half_results") / "results.json").write_text('{"status": "comp')
    (write(tmp_path / "other_results") / "results.json").write_text('{"status": "completed", "best": {"value": 1}}')
    (write(tmp_path / "no_config") / "config.yaml").unlink()
    (write(tmp_path / "half_config", best=0.1) / "config.yaml").write_bytes(b"seed: [1\xff")
    assert {run.name: run.status for run in find_runs([tmp_path])} == {
        "running": "running",
        "no_results": "damaged: no results.json",
        "half_results": "damaged: results.json",
        "other_results": "damaged: results.json",
        "no_config": "damaged: no config.yaml",
        "half_config": "damaged: no config.yaml",
    }
    for kind in ("table", "csv", "md", "json", "html"):
        assert "damaged" in render(compared(tmp_path), kind)


def test_all_formats_contain_the_same_values(tmp_path: Path) -> None:
    write(tmp_path / "a", "optim.lr=0.123456789", best=0.25)
    write(tmp_path / "b", "optim.lr=0.2", best=0.5)
    comparison = compared(tmp_path)
    rows = list(csv.DictReader(io.StringIO(render(comparison, "csv"))))
    assert [(row["run"], row["optim.lr"]) for row in rows] == [("a", "0.123456789"), ("b", "0.2")]
    whole = json.loads(render(comparison, "json"))
    assert whole["keys"] == ["optim.lr"]
    assert [run["metrics"]["best val/loss"] for run in whole["runs"]] == [0.25, 0.5]
    assert render(comparison, "table").splitlines()[1].split() == [
        "a",
        "completed",
        "0.25",
        "0.25",
        "0.75",
        "0.1235",
        "2.5",
    ]


def test_compare_sorts_chooses_columns_and_writes_a_page(
    runner: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = runner("optim.lr=0.1"), runner("optim.lr=0.01")
    capsys.readouterr()
    assert cli.main(["compare", str(first), str(second), "--sort", "test/accuracy"]) == 0
    header, best, _, _, verdict = capsys.readouterr().out.splitlines()
    assert verdict == "one run each: a ranking, not a verdict"
    assert header.split()[:4] == ["run", "status", "best", "val/loss"]
    assert best.split()[1] == "completed"
    assert best.split()[-2] == "0.1"
    assert cli.main(["compare", str(first), str(second), "--columns", "optim.lr,seed"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["run", "optim.lr", "seed"]
    target = first / "page.html"
    assert cli.main(["compare", str(first), "--format", "html", "--output", str(target)]) == 0
    assert f"1 runs: {target}" in capsys.readouterr().out
    assert "Content-Security-Policy" in target.read_text()
    assert cli.main(["compare", str(first), "--output", str(first / "none" / "x")]) == 2
