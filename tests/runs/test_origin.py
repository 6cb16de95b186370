import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from helpers import results
from runner import cli
from runner.runs import final_test


@pytest.fixture
def run(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a run that was started in the folder `start` with its images, and change to another folder."""
    monkeypatch.setattr(final_test, "draw", lambda *arguments: None)
    start = workdir / "start"
    for number in range(12):
        path = start / "pics" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 200 * (number % 2)).save(path)
    monkeypatch.chdir(start)
    choices = [
        "dataset=image_folder",
        "dataset.root=pics",
        "dataset.size=8",
        "dataset.test_share=0.3",
        "dataset.val_share=0.3",
    ]
    assert cli.main([*choices, "dataset.workers=0", "model=mlp", "trainer.epochs=1", "device.threads=1"]) == 0
    (folder,) = start.glob("outputs/*/*")
    elsewhere = workdir / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    return folder


def test_relative_paths_are_found_in_the_start_directory(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", str(run)]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["metrics"] == results(run)["test"]
    assert (
        f"dataset.root: {run.parents[2] / 'pics'}, found in the directory that the run was started in" in captured.err
    )
    assert cli.main(["resume", str(run), "trainer.epochs=2"]) == 0
    assert results(run)["epoch"] == 2


def test_typed_paths_are_relative_to_the_current_directory(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", str(run), "dataset.root=pics"]) == 2
    captured = capsys.readouterr()
    assert f"there is no such folder: {Path.cwd() / 'pics'}" in captured.err
    assert f"the run was started in {run.parents[2]}: run this command there, or set dataset.root" in captured.err


def test_existing_path_in_the_current_directory_takes_precedence(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run.parents[2] / "pics").rename("pics")
    assert cli.main(["evaluate", str(run)]) == 0
    assert "started in" not in capsys.readouterr().err


def test_plugins_are_not_imported_from_the_start_directory(
    runner: Callable[..., Path], workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (workdir / "own_parts.py").write_text("")
    folder = runner("plugins=[own_parts]", "trainer.epochs=1")
    monkeypatch.delitem(sys.modules, "own_parts")
    (workdir / "elsewhere").mkdir()
    monkeypatch.chdir(workdir / "elsewhere")
    assert cli.main(["evaluate", str(folder)]) == 2
    message = capsys.readouterr().err
    assert "importing 'own_parts' failed" in message
    assert message.endswith(f"the run was started in {workdir}: run this command there\n")


def test_sweep_whose_files_are_missing_names_its_start_directory(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (workdir / "data.csv").write_text("a,target\n" + "0.5,1\n" * 30)
    data = ["dataset=csv", "dataset.path=data.csv", "loss=mse"]
    assert cli.main(["-m", "model=mlp", *data, "trainer.max_steps=1", "seed=0,1"]) == 0
    (folder,) = workdir.glob("outputs/*/*")
    (folder / "seed=1" / "results.json").unlink()
    (workdir / "elsewhere").mkdir()
    monkeypatch.chdir(workdir / "elsewhere")
    assert cli.main(["resume", str(folder)]) == 2
    message = capsys.readouterr().err
    assert "there is no such file" in message
    assert message.endswith(f"the run was started in {workdir}: run this command there\n")


@pytest.mark.parametrize(
    "text", [None, "{", "[]", '{"folder": 1}', '{"folder": "relative"}', '{"folder": "/no/where"}']
)
def test_missing_or_damaged_environment_file_is_ignored(
    run: Path, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    (run / "environment.json").unlink()
    if text is not None:
        (run / "environment.json").write_text(text)
    assert cli.main(["evaluate", str(run)]) == 2
    message = capsys.readouterr().err
    assert "there is no such folder" in message
    assert "started in" not in message
