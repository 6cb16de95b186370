import builtins
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from helpers import finish, results, start
from runner import cli
from runner.runs.bridge import upload as bridge
from runner.runs.bridge.record import Point, Record
from runner.runs.found import read_run


@dataclass
class Target:
    """A tracker that keeps the version of each run in a dict, and breaks when told to."""

    runs: dict[str, str] = field(default_factory=dict)
    broken: bool = False
    location: str = "here"

    def uploaded_version(self, record: Record) -> str | None:
        return self.runs.get(record.key)

    def remove(self, record: Record) -> None:
        self.runs.pop(record.key, None)

    def add(self, record: Record) -> None:
        if self.broken:
            raise ValueError("no room")
        assert record.key not in self.runs
        self.runs[record.key] = record.version


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Target:
    found = Target()
    monkeypatch.setitem(bridge.TARGETS, "mlflow", lambda name: found)
    return found


def make(folder: Path, **changes: Any) -> Path:
    """Write a run folder of two epochs."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("optim: {name: sgd, lr: 0.1}\ntrainer: {ema: null}\n")
    (folder / "metrics.csv").write_text("epoch,step,train/loss,val/loss,seconds\n1,5,2.0,,0.5\n2,10,nan,1.0,0.5\n")
    values = {
        "status": "completed",
        "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T00:00:09+00:00",
        "epoch": 2,
        "step": 10,
        "best": {"metric": "val/loss", "value": 1.0},
        "test": {"loss": 0.5},
    }
    (folder / "results.json").write_text(json.dumps(values | changes))
    return folder


def test_record_has_the_rows_of_metrics_csv_and_the_final_results(tmp_path: Path) -> None:
    record = Record.of(read_run(make(tmp_path / "run"), "run"))
    began = record.began
    assert record.history() == [
        Point(5, began + 0.5, {"epoch": 1, "train/loss": 2, "seconds": 0.5}),
        Point(10, began + 1, {"epoch": 2, "val/loss": 1, "seconds": 0.5}),
        Point(10, began + 9, {"epoch": 2, "best val/loss": 1, "test/loss": 0.5}),
    ]
    assert record.tags["runner.folder"] == str(tmp_path / "run")
    assert record.tags["runner.status"] == "completed"


def test_run_without_metrics_has_a_point(tmp_path: Path) -> None:
    folder = make(tmp_path / "run", status="diverged", best=None, test={}, epoch=0, step=0)
    (folder / "metrics.csv").unlink()
    (point,) = Record.of(read_run(folder, "run")).history()
    assert (point.step, point.metrics) == (0, {"epoch": 0})


def test_job_of_a_sweep_belongs_to_its_group(tmp_path: Path) -> None:
    job = make(tmp_path / "12-00-00_sweep" / "seed=1")
    (tmp_path / "12-00-00_sweep" / "sweep.yaml").write_text("")
    record = Record.of(read_run(job, "seed=1"))
    assert (record.name, record.group) == ("12-00-00_sweep/seed=1", "12-00-00_sweep")


def test_run_is_known_after_its_folder_was_moved(tmp_path: Path) -> None:
    before = Record.of(read_run(make(tmp_path / "run"), "run"))
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    assert Record.of(read_run(tmp_path / "elsewhere" / "run", "run")).key == before.key
    for folder, started in (("other", "2026-01-01T00:00:00+00:00"), ("run", "2026-01-02T00:00:00+00:00")):
        assert Record.of(read_run(make(tmp_path / folder, started=started), "run")).key != before.key


def test_each_run_is_uploaded_once_and_again_after_a_resume(
    tmp_path: Path, target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "a")
    make(tmp_path / "b", finished=None, status="running")
    make(tmp_path / "c", status="failed", error={"type": "ValueError", "message": "on purpose"})
    assert cli.main(["compare", str(tmp_path), "--to", "mlflow"]) == 0
    assert capsys.readouterr().out == "2 uploaded, 1 left out, because they are running or damaged: here\n"
    shutil.rmtree(tmp_path / "b")
    shutil.rmtree(tmp_path / "c")
    make(tmp_path / "c", finished="2026-01-02T00:00:00+00:00")
    assert cli.main(["compare", str(tmp_path), "--to", "mlflow"]) == 0
    assert capsys.readouterr().out == "1 updated, 1 already there: here\n"
    assert len(target.runs) == 2


def test_errors_of_a_target_are_one_message(tmp_path: Path, target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    target.broken = True
    assert cli.main(["compare", str(make(tmp_path / "run")), "--to", "mlflow"]) == 1
    assert capsys.readouterr().err == "error: --to mlflow: ValueError: no room\n"


@pytest.mark.parametrize("kind", ["mlflow", "trackio"])
def test_missing_package_is_named_with_the_command_that_installs_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    real = builtins.__import__

    def without(name: str, *details: Any) -> Any:
        if name.partition(".")[0] == kind:
            raise ModuleNotFoundError(f"No module named {kind!r}", name=kind)
        return real(name, *details)

    monkeypatch.setattr(builtins, "__import__", without)
    assert cli.main(["compare", str(make(tmp_path / "run")), "--to", kind]) == 1
    assert f"package {kind} is not installed; run pip install -e '.[{kind}]' in" in capsys.readouterr().err


def test_project_needs_a_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", str(make(tmp_path / "run")), "--project", "mine"]) == 2
    assert "--project: names the project to upload to, and needs --to" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of MLflow about its own database
def test_mlflow_holds_params_metrics_tags_and_files(
    runner: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    folder = runner("optim.lr=0.1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder.parent}/mlflow.db")
    capsys.readouterr()
    for _ in range(2):
        assert cli.main(["compare", str(folder), "--to", "mlflow", "--project", "mine"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert (first[:11], second[:15]) == ("1 uploaded:", "1 already there")
    client = MlflowClient()
    experiment = client.get_experiment_by_name("mine")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", folder.name)
    assert (run.data.params["optim.lr"], run.data.params["trainer.ema"]) == ("0.1", "null")
    assert run.data.metrics["test/loss"] == pytest.approx(results(folder)["test"]["loss"])
    assert run.data.tags["runner.folder"] == str(folder)
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "val/loss")] == [6, 12]
    assert {"config.yaml", "results.json"} <= {each.path for each in client.list_artifacts(run.info.run_id)}

    assert cli.main(["resume", str(folder), "trainer.epochs=3"]) == 0
    assert cli.main(["compare", str(folder), "--to", "mlflow", "--project", "mine"]) == 0
    assert "1 updated" in capsys.readouterr().out
    (run,) = client.search_runs([experiment.experiment_id])
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "val/loss")] == [6, 12, 18]


READ = """
import json, sys, trackio
from trackio.sqlite_storage import SQLiteStorage
runs = trackio.Api().runs("mine")
print(json.dumps({run.name: [run.config, SQLiteStorage.get_logs("mine", run.name)] for run in runs}))
"""


@pytest.mark.slow
def test_trackio_holds_config_and_metrics(
    runner: Callable[..., Path], workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, diverged = runner("optim.lr=0.1"), runner("optim.lr=1e30", code=3)
    monkeypatch.setenv("TRACKIO_DIR", str(workdir / "trackio"))  # read when Trackio is imported: in other processes
    for message in ("2 uploaded: project mine", "2 already there: project mine"):
        command = ("compare", str(folder), str(diverged), "--to", "trackio", "--project", "mine")
        assert finish(start(*command, cwd=workdir)).startswith(message)
    read = subprocess.run([sys.executable, "-c", READ], capture_output=True, text=True, check=True)
    runs = json.loads(read.stdout)
    assert runs.keys() == {folder.name, diverged.name}
    config, logs = runs[folder.name]
    assert (config["optim.lr"], config["runner.status"]) == (0.1, "completed")
    assert [row["step"] for row in logs if "val/loss" in row] == [6, 12]
    assert [row["test/loss"] for row in logs if "test/loss" in row] == [results(folder)["test"]["loss"]]
