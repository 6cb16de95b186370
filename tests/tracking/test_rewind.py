from collections.abc import Callable
from pathlib import Path

import pytest

from runner import cli
from runner.tracking.rewind import rewind

EVENTS = "events.out.tfevents"  # how the names of event files begin


@pytest.mark.parametrize("place", ["", "tensorboard/"])  # the second one is of earlier versions
def test_files_are_truncated_and_new_ones_deleted(tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir(exist_ok=True)
    first, later, notes = (f"{place}{name}" for name in (f"{EVENTS}.1", f"{EVENTS}.2", "events.txt"))
    files = {"metrics.csv": "head,1,2", first: "abcdef", later: "later"}
    for name, text in {**files, "run.log": "the log", notes: "mine"}.items():
        (tmp_path / name).write_text(text)
    rewind(tmp_path, {"metrics.csv": 6, first: 4})
    found = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {
        "metrics.csv": "head,1",
        first: "abcd",
        "run.log": "the log",
        notes: "mine",
    }


def test_shorter_file_is_not_extended(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("head")
    rewind(tmp_path, {"metrics.csv": 100, f"{EVENTS}.gone": 5})
    assert (tmp_path / "metrics.csv").read_text() == "head"


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "mine").write_text("my own file")
    (tmp_path / "run" / f"{EVENTS}.x").symlink_to(tmp_path / "mine")
    rewind(tmp_path / "run", {f"{EVENTS}.x": 1})
    assert (tmp_path / "mine").read_text() == "my own file"


@pytest.mark.parametrize("name", ["run.log", ".lock", "metrics.csv", f"{EVENTS}.x", "checkpoints/last.pt"])
def test_resume_rejects_symbolic_links(
    workdir: Path, runner: Callable[..., Path], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    folder = runner("trainer.epochs=1")
    (workdir / "mine").write_text("my own file")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(workdir / "mine")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert cli.main(["resume", str(folder), "trainer.epochs=2"]) == 2
    assert f"{folder / name} is a symbolic link" in capsys.readouterr().err
    assert (workdir / "mine").read_text() == "my own file"
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
