import os
from pathlib import Path

import pytest

from runner.machine.rendezvous import Member
from runner.runs.elastic import FOLDER, Launch


def member(launcher: str | None, number: int = 0) -> Member:
    return Member(f"{launcher}-{number}", "host", number, launcher)


@pytest.fixture(autouse=True)
def _restarting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process look like rank 0 of torchrun --max-restarts=1."""
    variables = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_MAX_RESTARTS": "1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run folder in output_dir, which is tmp_path."""
    folder = tmp_path / "2026-01-01" / "run"
    folder.mkdir(parents=True)
    return folder


def test_run_without_torchrun_records_nothing(tmp_path: Path, run: Path) -> None:
    for members in ([], [member(None), member(None)]):
        launch = Launch(tmp_path, members)
        assert launch.folder() is None
        launch.record(run)
        assert not launch.restarted
        assert not (tmp_path / FOLDER).exists()
        launch.forget()


def test_restarted_processes_find_the_folder_of_their_run(tmp_path: Path, run: Path) -> None:
    first = Launch(tmp_path, [member("a", 1), member("a", 2)])
    assert first.folder() is None
    first.record(run)
    assert not first.restarted
    again = Launch(tmp_path, [member("a", 3), member("a", 4)])
    assert again.folder() == run
    assert again.restarted


def test_another_torchrun_starts_a_new_run(tmp_path: Path, run: Path) -> None:
    Launch(tmp_path, [member("a")]).record(run)
    other = Launch(tmp_path, [member("b")])
    assert (other.folder(), other.restarted) == (None, False)


@pytest.mark.parametrize("remaining", ["a", "b"])
def test_folder_is_found_if_one_of_several_machines_remains(tmp_path: Path, run: Path, remaining: str) -> None:
    Launch(tmp_path, [member("a"), member("b")]).record(run)
    replaced = Launch(tmp_path, [member("new"), member(remaining)])
    assert replaced.folder() == run
    replaced.record(run)
    assert Launch(tmp_path, [member("new")]).folder() == run  # the next restart may be on the new machine alone


def test_deleted_run_folder_is_not_found(tmp_path: Path, run: Path) -> None:
    Launch(tmp_path, [member("a")]).record(run)
    run.rmdir()
    launch = Launch(tmp_path, [member("a")])
    assert (launch.folder(), launch.restarted) == (None, False)


def test_ended_run_is_forgotten(tmp_path: Path, run: Path) -> None:
    launch, other = Launch(tmp_path, [member("a"), member("b")]), Launch(tmp_path, [member("c")])
    launch.record(run)
    other.record(tmp_path)
    launch.forget()
    assert [Launch(tmp_path, [member(name)]).folder() for name in "abc"] == [None, None, tmp_path]
    other.forget()
    assert list((tmp_path / FOLDER).iterdir()) == []
    other.forget()


def test_torchrun_without_restarts_records_nothing(tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "0")
    Launch(tmp_path, [member("a")]).record(run)
    assert not (tmp_path / FOLDER).exists()


def test_folder_whose_name_is_not_utf_8_is_found_again(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    Launch(tmp_path, [member("a")]).record(folder)
    assert Launch(tmp_path, [member("a")]).folder() == folder
