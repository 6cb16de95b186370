import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner import cli
from runner.config.compose import compose_config, freeze
from runner.config.composition import CONF
from runner.errors import ConfigError
from runner.runs.compare import Comparison
from runner.runs.found import curves, differing, find_runs


def write(folder: Path, *overrides: str, best: float | None = None, status: str = "completed") -> Path:
    """A run folder with such a config, in which this came out."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(freeze(compose_config(overrides)))
    values: dict[str, Any] = {
        "status": status,
        "best": None if best is None else {"metric": "val/loss", "value": best},
        "test": {} if best is None else {"loss": best, "accuracy": 1 - best},
        "seconds": {"total": 2.5},
    }
    (folder / "results.json").write_text(json.dumps(values))
    return folder


def compared(*folders: Path) -> Comparison:
    return Comparison(find_runs(folders))


def test_runs_and_sweeps_are_found_however_deep(tmp_path: Path) -> None:
    write(tmp_path / "outputs" / "day" / "run")
    write(tmp_path / "outputs" / "day" / "sweep" / "seed=1")
    write(tmp_path / "elsewhere")
    (tmp_path / "outputs" / "day" / "sweep" / ".submitit").mkdir()
    names = [
        run.name for run in find_runs([tmp_path / "outputs", tmp_path / "elsewhere", tmp_path / "outputs" / "day"])
    ]
    assert names == ["outputs/day/run", "outputs/day/sweep/seed=1", "elsewhere"]


@pytest.mark.parametrize("made", [False, True])
def test_a_folder_without_runs_is_named(tmp_path: Path, made: bool) -> None:
    if made:
        (tmp_path / "none").mkdir()
    with pytest.raises(ConfigError, match="none: " + ("holds no runs" if made else "no such folder")):
        find_runs([tmp_path / "none"])


def test_only_keys_that_differ_are_shown(tmp_path: Path) -> None:
    write(tmp_path / "a", "optim.lr=0.1", "name=one", "device.threads=1", best=0.5)
    write(tmp_path / "b", "optim=adam", "name=two", "sweep.jobs=3", best=0.4)
    comparison = compared(tmp_path)
    assert comparison.keys[:2] == ["optim.name", "optim.lr"]
    assert not [key for key in comparison.keys if not key.startswith("optim.")]
    row = comparison.row(comparison.runs[0])
    assert (row["run"], row["optim.lr"], row["best val/loss"], row["test/accuracy"]) == ("a", 0.1, 0.5, 0.5)
    assert differing([{"a": 1, "b": [1]}, {"a": 1, "b": [2]}, {"a": 1, "c": None}]) == ["b", "c"]


@pytest.mark.parametrize(
    ("key", "order"),
    [(None, "bca"), ("best val/loss", "bca"), ("test/accuracy", "bca"), ("optim.lr", "abc"), ("run", "abc")],
)
def test_the_best_come_first_and_empty_cells_last(tmp_path: Path, key: str | None, order: str) -> None:
    write(tmp_path / "a", "optim.lr=0.1", status="failed")
    write(tmp_path / "b", "optim.lr=0.2", best=0.25)
    write(tmp_path / "c", "optim.lr=0.3", best=0.5)
    comparison = compared(tmp_path)
    comparison.sort(key)
    assert "".join(run.name for run in comparison.runs) == order


def test_an_unknown_column_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a", best=0.5)
    with pytest.raises(ConfigError, match=r"--sort: found 'test/acuracy'; .* Did you mean test/accuracy\?"):
        compared(tmp_path).sort("test/acuracy")


def test_repeats_are_shown_with_their_deviation(tmp_path: Path) -> None:
    for seed, best in enumerate((0.1, 0.3)):
        write(tmp_path / f"a{seed}", "optim.lr=0.1", f"seed={seed}", best=best)
        write(tmp_path / f"b{seed}", "optim.lr=0.2", f"seed={seed}", best=best + 0.5)
    comparison = compared(tmp_path)
    first, second = comparison.groups()
    assert (first.keys, first.n, second.n) == ({"optim.lr": 0.1}, 2, 2)
    assert "0.2 ± 0.1414" in comparison.text("table")
    assert comparison.text("table").splitlines()[-2:] == ["1: a0, a1", "2: b0, b1"]
    assert "| 2 | 0.2 ± 0.1414 | 0.2 ± 0.1414 | 0.8 ± 0.1414 | 0.1 | a0, a1 |" in comparison.text("md")


def test_a_run_that_is_not_repeated_is_in_no_group(tmp_path: Path) -> None:
    for seed in (0, 1):
        write(tmp_path / f"a{seed}", "optim.lr=0.1", f"seed={seed}", best=0.5)
        write(tmp_path / f"failed{seed}", "optim.lr=0.3", f"seed={seed}", status="failed")
    write(tmp_path / "alone", "optim.lr=0.2", best=0.1)
    assert [group.names for group in compared(tmp_path).groups()] == [["a0", "a1"]]


def recipes(folder: Path) -> Comparison:
    """A comparison of many different recipes, and of a sweep over seeds."""
    for number, recipe in enumerate(sorted((CONF / "experiment").glob("*.yaml"))):
        write(folder / "2026-11-24" / f"10-{number}-00_{recipe.stem}", f"experiment={recipe.stem}", best=10.0**number)
    for seed in range(3):
        write(folder / "2026-11-25" / "12-00-00_sweep_lenet_digits" / f"seed={seed}", f"seed={seed}", best=0.5)
    return compared(folder)


@pytest.mark.parametrize("width", [80, 120])
def test_a_table_over_different_recipes_fits_the_terminal(tmp_path: Path, width: int) -> None:
    lines = recipes(tmp_path).text("table", width).splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].split("  ")[0] == "run"
    assert all(name in lines[0] for name in ("best val/loss", "test/loss", "test/accuracy"))
    assert "columns left out, to choose: --columns KEY,..." in lines[-1]
    assert "12-00-00_sweep_lenet_digits/seed=2" in "".join(lines)


def test_what_follows_from_the_choice_of_a_component_is_not_shown(tmp_path: Path) -> None:
    write(tmp_path / "a", "optim=sgd", "trainer.epochs=3", "logger=none", best=0.5)
    write(tmp_path / "b", "optim=adam", best=0.4)
    comparison = compared(tmp_path)
    assert comparison.matter == ["optim.name", "trainer.epochs"]
    assert "optim.dampening" in comparison.keys
    assert "optim.dampening" in comparison.text("csv")


def test_keys_that_were_typed_come_first_and_seeds_last(tmp_path: Path) -> None:
    for seed, epochs in ((0, 2), (1, 3)):
        folder = write(
            tmp_path / f"a{seed}", f"seed={seed}", f"trainer.epochs={epochs}", f"optim.lr={1 + seed}", best=1
        )
        values = json.loads((folder / "results.json").read_text())
        typed = [f"seed={seed}", f"trainer.epochs={epochs}", "logger=none"]
        (folder / "results.json").write_text(json.dumps({**values, "overrides": typed}))
    assert compared(tmp_path).matter == ["trainer.epochs", "optim.lr", "seed"]


@pytest.mark.parametrize("kind", ["table", "csv", "md", "json"])
def test_columns_can_be_chosen(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "a", best=0.25)
    write(tmp_path / "b", "seed=1", best=0.5)
    comparison = compared(tmp_path)
    comparison.choose(["test/accuracy", "optim.lr"])
    text = comparison.text(kind)
    assert text.index("run") < text.index("test/accuracy") < text.index("optim.lr")
    assert ("0.75" in text, "0.01" in text, "completed" in text) == (True, True, False)


def test_an_unknown_column_cannot_be_chosen(tmp_path: Path) -> None:
    write(tmp_path / "a", best=0.5)
    with pytest.raises(ConfigError, match=r"--columns: found 'optim.l'; .* Did you mean optim.lr\?"):
        compared(tmp_path).choose(["seed", "optim.l"])


def test_without_repeats_there_are_no_groups(tmp_path: Path) -> None:
    write(tmp_path / "a", "optim.lr=0.1", best=0.1)
    write(tmp_path / "b", "optim.lr=0.2", best=0.1)
    assert compared(tmp_path).groups() == []


def test_damaged_and_running_folders_are_listed_as_such(tmp_path: Path) -> None:
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
        assert "damaged" in compared(tmp_path).text(kind)


def test_the_formats_hold_the_same(tmp_path: Path) -> None:
    write(tmp_path / "a", "optim.lr=0.123456789", best=0.25)
    write(tmp_path / "b", "optim.lr=0.2", best=0.5)
    comparison = compared(tmp_path)
    rows = list(csv.DictReader(io.StringIO(comparison.text("csv"))))
    assert [(row["run"], row["optim.lr"]) for row in rows] == [("a", "0.123456789"), ("b", "0.2")]
    whole = json.loads(comparison.text("json"))
    assert whole["keys"] == ["optim.lr"]
    assert [run["metrics"]["best val/loss"] for run in whole["runs"]] == [0.25, 0.5]
    assert comparison.text("table").splitlines()[1].split() == [
        "a",
        "completed",
        "0.25",
        "0.25",
        "0.75",
        "0.1235",
        "2.5",
    ]


@pytest.mark.parametrize(
    ("table", "found"),
    [
        (
            "epoch,step,train/loss,val/loss,lr\n1,5,0.5,,0.1\n2,9,0.25,nan,0.1\n",
            {"train/loss": [(1.0, 0.5), (2.0, 0.25)]},
        ),
        ("epoch,train/loss\n1,abc\n", {}),
        ("", {}),
    ],
)
def test_curves_are_read_as_far_as_they_are_numbers(
    tmp_path: Path, table: str, found: dict[str, list[tuple[float, float]]]
) -> None:
    (tmp_path / "metrics.csv").write_text(table)
    assert curves(tmp_path) == found
    assert curves(tmp_path / "none") == {}


def test_the_command_compares_real_runs(runner: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    first, second = runner("optim.lr=0.1"), runner("optim.lr=0.01")
    capsys.readouterr()
    assert cli.main(["compare", str(first), str(second), "--sort", "test/accuracy"]) == 0
    header, best, _ = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["run", "status", "best", "val/loss"]
    assert best.split()[1] == "completed"
    assert best.split()[-2] == "0.1"
    assert cli.main(["compare", str(first), str(second), "--columns", "optim.lr,seed"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["run", "optim.lr", "seed"]
    target = first / "page.html"
    assert cli.main(["compare", str(first), "--format", "html", "--output", str(target)]) == 0
    assert f"1 runs: {target}" in capsys.readouterr().out
    assert "http://" not in target.read_text().replace("http://www.w3.org/2000/svg", "")
    assert cli.main(["compare", str(first), "--output", str(first / "none" / "x")]) == 2
