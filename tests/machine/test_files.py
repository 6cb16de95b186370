import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.machine.files import one_at_a_time, sync_folder, write_atomically


def refuse(*arguments: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("data", ["größe\n", b"\x00\xff"])
def test_writes_text_as_utf8_and_bytes_as_they_are(tmp_path: Path, data: str | bytes) -> None:
    write_atomically(tmp_path / "file", data)
    assert (tmp_path / "file").read_bytes() == (data.encode() if isinstance(data, str) else data)


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen = tmp_path / "file", []
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append((path.read_text(), os.fstat(descriptor).st_size)))
    write_atomically(path, "the new one")
    (before, size), (after, _) = seen
    assert (before, size, after) == ("old", 11, "the new one")


@pytest.mark.parametrize(("owner", "call"), [(os, "fsync"), (Path, "replace")])
def test_when_the_disk_refuses_the_old_file_stays_and_nothing_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, call: str
) -> None:
    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(owner, call, refuse)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "file", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_an_interruption_leaves_the_old_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_what_a_crash_left_beside_the_file_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / ".file.part").write_text("torn, and longer than the new one")
    write_atomically(tmp_path / "file", "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["new"]


def test_syncing_a_folder_leaves_no_descriptor_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    sync_folder(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_process_waits_while_another_is_in_there(tmp_path: Path) -> None:
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


def test_where_the_folder_is_gone_nobody_makes_it_anew(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"), one_at_a_time(tmp_path / "gone" / "file"):
        pass
    assert list(tmp_path.iterdir()) == []
