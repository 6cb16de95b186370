import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from helpers import results
from runner import cli


@pytest.fixture
def run(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was started in `start`, with its pictures there; the current folder is another."""
    monkeypatch.setattr("runner.runs.final_test.draw", lambda *arguments: None)
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


def test_relative_paths_are_found_where_the_run_was_started(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", str(run)]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["metrics"] == results(run)["test"]
    assert f"dataset.root: {run.parents[2] / 'pics'}, from the folder that the run was started in" in captured.err
    assert cli.main(["resume", str(run), "trainer.epochs=2"]) == 0
    assert results(run)["epoch"] == 2


def test_a_path_that_is_typed_is_meant_from_the_current_folder(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", str(run), "dataset.root=pics"]) == 2
    captured = capsys.readouterr()
    assert f"there is no such folder: {Path.cwd() / 'pics'}" in captured.err
    assert f"the run was started in {run.parents[2]}: run this command there, or give dataset.root" in captured.err


def test_a_path_that_is_here_too_is_taken(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run.parents[2] / "pics").rename("pics")
    assert cli.main(["evaluate", str(run)]) == 0
    assert "started in" not in capsys.readouterr().err


def test_plugins_are_never_taken_from_another_folder(
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
    assert f"the run was started in {workdir}: run this command there" in message


@pytest.mark.parametrize(
    "text", [None, "{", "[]", '{"folder": 1}', '{"folder": "relative"}', '{"folder": "/no/where"}']
)
def test_an_environment_file_that_does_not_say_changes_nothing(
    run: Path, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    (run / "environment.json").unlink()
    if text is not None:
        (run / "environment.json").write_text(text)
    assert cli.main(["evaluate", str(run)]) == 2
    message = capsys.readouterr().err
    assert "there is no such folder" in message
    assert "started in" not in message
