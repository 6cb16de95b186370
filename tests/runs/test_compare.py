import json
from pathlib import Path
from typing import Any

import pytest

from runner.config.compose import compose_config, freeze
from runner.errors import ConfigError
from runner.runs.compare import Comparison
from runner.runs.found import differing, find_runs


def write(folder: Path, *overrides: str, best: float | None = None, status: str = "completed") -> Path:
    """Write a run folder with the given overrides, status and metrics."""
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
