import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.machine.files import one_at_a_time, sync_folder, write_atomically


def refuse(*arguments: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("data", ["größe\n", b"\x00\xff"])
def test_writes_text_and_bytes(tmp_path: Path, data: str | bytes) -> None:
    write_atomically(tmp_path / "file", data)
    assert (tmp_path / "file").read_bytes() == (data.encode() if isinstance(data, str) else data)


def test_readers_see_the_old_file_until_the_new_one_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = tmp_path / "file", []
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append((path.read_text(), os.fstat(descriptor).st_size)))
    write_atomically(path, "the new one")
    (before, size), (after, _) = seen
    assert (before, size, after) == ("old", 11, "the new one")


@pytest.mark.parametrize(("owner", "call"), [(os, "fsync"), (Path, "replace")])
def test_failed_write_keeps_the_old_file_and_leaves_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, call: str
) -> None:
    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(owner, call, refuse)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "file", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_interrupted_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_temporary_file_left_by_a_crash_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".file.part").write_text("torn, and longer than the new one")
    write_atomically(tmp_path / "file", "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["new"]


def test_sync_folder_closes_its_descriptor(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    sync_folder(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_second_process_waits_for_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    code = (
        "import pathlib, sys; from runner.machine.files import one_at_a_time; print('here', flush=True)\n"
        "with one_at_a_time(pathlib.Path(sys.argv[1])): print('in', flush=True)"
    )
    with one_at_a_time(path):
        other = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        assert other.stdout.readline() == "here\n"
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.5)
    assert other.communicate(timeout=10)[0] == "in\n"


def test_lock_does_not_create_its_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"), one_at_a_time(tmp_path / "gone" / "file"):
        pass
    assert list(tmp_path.iterdir()) == []
