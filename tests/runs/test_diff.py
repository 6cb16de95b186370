import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner import cli
from runner.runs.diff import diff_runs, minus, pairs, with_sign


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    code = cli.main(["diff", *arguments])
    return code, capsys.readouterr().out


def test_equal_runs_have_no_difference(runner: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    first, second = runner("name=one"), runner("name=two")
    code, text = shown(capsys, str(first), str(second))
    assert (code, text) == (1, "overrides   only first: name=one\noverrides   only second: name=two\n")
    assert shown(capsys, str(first), str(first)) == (0, "no difference\n")


def test_config_metrics_and_the_first_step_are_shown(
    runner: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first = runner("trainer.log_every=2", "trainer.validate_every='3 steps'")
    second = runner("trainer.log_every=2", "trainer.validate_every='3 steps'", "scheduler=cosine")
    code, text = shown(capsys, str(first), str(second))
    assert code == 1
    assert "config      scheduler.name: 'constant' | 'cosine'" in text
    assert "overrides   only second: scheduler=cosine" in text
    found = json.loads(shown(capsys, str(first), str(second), "--format", "json")[1])
    # The learning rate is the same until the second step; the loss of a step is measured before its update.
    assert found["first"]["step"] == 2
    assert list(found["first"]["scalars"]) == ["lr"]
    left, right, change = found["metrics"]["val/loss"]
    assert change == pytest.approx(right - left)
    assert change != 0
    assert found["environment"] == found["data"] == found["code"] == {}


def test_runs_without_tensorboard_are_compared_by_their_csv(runner: Callable[..., Path]) -> None:
    first, second = runner("logger=none"), runner("logger=none", "seed=1")
    found = diff_runs(first, second).first
    assert found is not None
    assert found["step"] == 6  # the end of the first epoch
    assert "val/loss" in found["scalars"]


def test_data_code_and_environment_are_compared(runner: Callable[..., Path]) -> None:
    first, second = runner(), runner("dataset.seed=5")
    file = second / "environment.json"
    values: dict[str, Any] = json.loads(file.read_text())
    values["packages"]["torch"] = "1.0"
    values["git"] = {"commit": "abc", "diff": "-old\n+new\n"}
    file.write_text(json.dumps(values))
    found = diff_runs(first, second)
    assert found.environment["packages.torch"][1] == "1.0"
    assert list(found.environment) == ["packages.torch"]
    assert found.code["commit"][1] == "abc"
    assert {"+-old", "++new"} <= set(found.code["patch"])
    assert found.data["fingerprint"][0] != found.data["fingerprint"][1]


def test_scalar_that_only_one_run_has_is_a_difference(runner: Callable[..., Path]) -> None:
    first, second = runner("trainer.log_every=4"), runner("trainer.log_every=4", "trainer.validate_every=2")
    found = diff_runs(first, second).first
    assert found is not None
    assert found["step"] == 6
    assert found["scalars"]["val/loss"][1:] == (None, None)


def test_damaged_files_are_tolerated(runner: Callable[..., Path]) -> None:
    first, second = runner(), runner()
    (second / "environment.json").write_text("{")
    (second / "results.json").unlink()
    (second / "checkpoints" / "last.pt").write_bytes(b"")
    found = diff_runs(first, second)
    assert found.metrics["status"][:2] == ("completed", None)
    assert found.data["fingerprint"][1] is None
    assert found.first is None
    (second / "config.yaml").write_text("seed: [")
    assert set(diff_runs(first, second).config["seed"]) == {0, None}


@pytest.mark.parametrize("damaged", ["epoch,step,train/loss\n1,x,0.5\n", "epoch,train/loss\n1,0.5\n", "\0", "a\n1,2\n"])
def test_damaged_metrics_are_missing_ones(runner: Callable[..., Path], damaged: str) -> None:
    first, second = runner("logger=none"), runner("logger=none")
    (second / "metrics.csv").write_text(damaged)
    found = diff_runs(first, second).first
    assert found is not None
    assert all(other is None for _, other, _ in found["scalars"].values())


@pytest.mark.parametrize(
    ("folder", "reason"), [("missing", "there is no such folder\n"), (".", "it has no config.yaml\n")]
)
def test_folder_that_is_not_a_run_is_refused(
    workdir: Path, capsys: pytest.CaptureFixture[str], folder: str, reason: str
) -> None:
    assert cli.main(["diff", folder, folder]) == 2
    assert f"not a run folder: {reason}" in capsys.readouterr().err


def test_newest_run_is_named_if_a_folder_of_runs_is_given(
    runner: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    runner("trainer.epochs=1")
    newest = runner("trainer.epochs=1")
    os.utime(newest, (2e9, 2e9))
    assert cli.main(["resume", "outputs"]) == 2
    assert f"it has no config.yaml; the newest run in it: {newest}\n" in capsys.readouterr().err


def test_differences_have_a_sign() -> None:
    assert minus(0.5, 0.25) == -0.25
    assert minus(0.5, None) is None
    assert minus(0.5, float("nan")) is None
    assert with_sign({"val/loss": (0.5, 0.25, -0.25), "status": ("completed", "failed", None)}) == [
        "val/loss: 0.5 | 0.25  (-0.25)",
        "status: completed | failed",
    ]


def test_ignored_keys_and_equal_values_are_left_out() -> None:
    assert pairs({"name": "a", "x": 1, "y": float("nan")}, {"name": "b", "x": 1.0, "y": float("nan")}, ("name",)) == {
        "x": (1, 1.0)
    }
