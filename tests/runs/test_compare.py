import json
from pathlib import Path
from typing import Any

import pytest

from helpers import finish, start
from runner import cli
from runner.config.compose import compose_config
from runner.config.frozen import freeze
from runner.errors import ConfigError
from runner.runs.compare import Comparison
from runner.runs.found import differing, find_runs


def write(folder: Path, *overrides: str, best: float | None = None, status: str = "completed") -> Path:
    """Write a run folder with the given overrides, status and metrics."""
    (folder / "checkpoints").mkdir(parents=True)
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


def test_runs_are_found_at_any_depth(tmp_path: Path) -> None:
    write(tmp_path / "outputs" / "day" / "run")
    write(tmp_path / "outputs" / "day" / "sweep" / "seed=1")
    write(tmp_path / "elsewhere")
    (tmp_path / "outputs" / "day" / "sweep" / ".submitit").mkdir()
    names = [
        run.name for run in find_runs([tmp_path / "outputs", tmp_path / "elsewhere", tmp_path / "outputs" / "day"])
    ]
    assert names == ["outputs/day/run", "outputs/day/sweep/seed=1", "elsewhere"]


@pytest.mark.parametrize("made", [False, True])
def test_folder_without_runs_is_rejected(tmp_path: Path, made: bool) -> None:
    if made:
        (tmp_path / "none").mkdir()
    with pytest.raises(ConfigError, match="none: " + ("contains no runs" if made else "no such folder")):
        find_runs([tmp_path / "none"])


def test_rows_contain_the_keys_that_differ(tmp_path: Path) -> None:
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
def test_sort_puts_the_best_first_and_empty_cells_last(tmp_path: Path, key: str | None, order: str) -> None:
    write(tmp_path / "a", "optim.lr=0.1", status="failed")
    write(tmp_path / "b", "optim.lr=0.2", best=0.25)
    write(tmp_path / "c", "optim.lr=0.3", best=0.5)
    comparison = compared(tmp_path)
    comparison.sort(key)
    assert "".join(run.name for run in comparison.runs) == order


CHOSEN_BY_F1 = ("trainer.checkpoint.metric=val/f1", "trainer.checkpoint.mode=max")


def test_config_files_that_are_not_of_a_run_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "outputs" / "run")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text("defaults: [model: lenet]\n")
    assert [run.name for run in find_runs([tmp_path])] == ["run"]


@pytest.mark.parametrize("value", ["2026-01-01", "!!set {a, b}", "!!binary aGFsbG8="])
def test_configs_of_other_programs_count_as_damaged(tmp_path: Path, value: str) -> None:
    for name in ("a", "b"):
        (write(tmp_path / name, best=0.1) / "config.yaml").write_text(f"{name}: {value}\n")
    assert [run.status for run in compared(tmp_path).runs] == ["damaged: no config.yaml"] * 2
    assert cli.main(["compare", str(tmp_path), "--format", "json"]) == 0


@pytest.mark.parametrize("kind", ["table", "md"])
def test_files_are_utf_8_in_any_locale(tmp_path: Path, kind: str) -> None:
    for seed in (0, 1):
        write(tmp_path / f"größe{seed}", f"seed={seed}", best=0.1 * (1 + seed))
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    finish(start("compare", ".", "--format", kind, "--output", "o", cwd=tmp_path, **ascii_only))
    assert "größe1" in (tmp_path / "o").read_text("utf-8")


def write_scored(folder: Path, *overrides: str, **scores: float) -> None:
    """Write a run folder whose metrics have these values, on validation and test samples alike."""
    values = json.loads((write(folder, *overrides) / "results.json").read_text())
    metric = compose_config(overrides).trainer.checkpoint.metric
    best = {"metric": metric, "value": scores[metric.partition("/")[2]]}
    (folder / "results.json").write_text(json.dumps({**values, "best": best, "test": scores}))


@pytest.mark.parametrize("key", [None, "best val/f1", "test/f1", "test/auroc", "test/confidence", "test/wer"])
def test_sort_knows_the_direction_of_each_metric(tmp_path: Path, key: str | None) -> None:
    write_scored(tmp_path / "bad", *CHOSEN_BY_F1, f1=0.2, auroc=0.3, confidence=0.4, wer=0.9)
    write_scored(tmp_path / "good", *CHOSEN_BY_F1, f1=0.8, auroc=0.7, confidence=0.6, wer=0.1)
    comparison = compared(tmp_path)
    comparison.sort(key)
    assert [run.name for run in comparison.runs] == ["good", "bad"]


@pytest.mark.parametrize(
    "stated",
    [
        ["trainer.checkpoint.metric=val/oddity", "trainer.checkpoint.mode=min"],
        [f"trainer.early_stopping.{each}" for each in ("metric=val/oddity", "mode=min", "patience=3")],
    ],
)
def test_one_run_states_the_direction_of_an_own_metric_for_all(tmp_path: Path, stated: list[str]) -> None:
    write_scored(tmp_path / "bad", loss=0.1, oddity=0.9)
    write_scored(tmp_path / "good", *stated, loss=0.9, oddity=0.1)
    comparison = compared(tmp_path)
    comparison.sort("test/oddity")
    assert [run.name for run in comparison.runs] == ["good", "bad"]
    comparison.choose_metric("test/oddity")
    assert [verdict.mode for verdict in comparison.verdicts()] == ["min"]


def test_sorting_by_an_unknown_column_is_rejected(tmp_path: Path) -> None:
    write(tmp_path / "a", best=0.5)
    with pytest.raises(ConfigError, match=r"--sort: found 'test/acuracy'; .* Did you mean test/accuracy\?"):
        compared(tmp_path).sort("test/acuracy")


def test_single_run_forms_no_group(tmp_path: Path) -> None:
    for seed in (0, 1):
        write(tmp_path / f"a{seed}", "optim.lr=0.1", f"seed={seed}", best=0.5)
        write(tmp_path / f"failed{seed}", "optim.lr=0.3", f"seed={seed}", status="failed")
    write(tmp_path / "alone", "optim.lr=0.2", best=0.1)
    assert [group.names for group in compared(tmp_path).groups()] == [["a0", "a1"]]


def test_keys_that_follow_from_the_choice_of_a_component_are_hidden(tmp_path: Path) -> None:
    write(tmp_path / "a", "optim=sgd", "trainer.epochs=3", "logger=none", best=0.5)
    write(tmp_path / "b", "optim=adam", best=0.4)
    comparison = compared(tmp_path)
    assert comparison.main_keys == ["optim.name", "trainer.epochs"]
    assert "optim.dampening" in comparison.keys
    assert "optim.dampening" in comparison.rows()[0] | comparison.rows()[1]


def test_overridden_keys_come_first_and_seeds_last(tmp_path: Path) -> None:
    for seed, epochs in ((0, 2), (1, 3)):
        folder = write(
            tmp_path / f"a{seed}", f"seed={seed}", f"trainer.epochs={epochs}", f"optim.lr={1 + seed}", best=1
        )
        values = json.loads((folder / "results.json").read_text())
        typed = [f"seed={seed}", f"trainer.epochs={epochs}", "logger=none"]
        (folder / "results.json").write_text(json.dumps({**values, "overrides": typed}))
    assert compared(tmp_path).main_keys == ["trainer.epochs", "optim.lr", "seed"]


def test_choosing_an_unknown_column_is_rejected(tmp_path: Path) -> None:
    write(tmp_path / "a", best=0.5)
    with pytest.raises(ConfigError, match=r"--columns: found 'optim.l'; .* Did you mean optim.lr\?"):
        compared(tmp_path).choose(["seed", "optim.l"])


def test_runs_with_different_values_form_no_group(tmp_path: Path) -> None:
    write(tmp_path / "a", "optim.lr=0.1", best=0.1)
    write(tmp_path / "b", "optim.lr=0.2", best=0.1)
    assert compared(tmp_path).groups() == []
