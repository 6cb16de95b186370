import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import ConfigError, RunnerError
from runner.runs.folder import locked, make_folder, make_run_folder, safe_name

NOON = datetime(2024, 5, 17, 12, 0, 1)

READY = """
import os, sys
from datetime import datetime
from pathlib import Path
from runner.errors import ConfigError, RunnerError
from runner.runs.folder import locked, make_run_folder

folder = Path(sys.argv[1])
print("ready", flush=True)
while not (folder / "go").exists():
    pass
"""

MAKE = """
for _ in range(20):
    print(make_run_folder(folder, "same", datetime(2024, 5, 17, 12, 0, 1)).name)
"""

HOLD = """
import sys
from pathlib import Path
from runner.runs.folder import locked

with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""

HOLD_WITH_CHILD = """
import os, sys
from pathlib import Path
from runner.runs.folder import locked

with locked(Path(sys.argv[1])):
    if not os.fork():
        print(os.getpid(), flush=True)
    sys.stdin.read()
    os._exit(0)
"""

HOLD_WITH_WORKER = """
import sys
from pathlib import Path
from torch.utils.data import DataLoader
from runner.runs.folder import locked

if __name__ == "__main__":
    with locked(Path(sys.argv[1])):
        batches = iter(DataLoader([1, 2], num_workers=1, multiprocessing_context="fork"))
        next(batches)
        print(batches._workers[0].pid, flush=True)
        sys.stdin.read()
"""

TAKE_TURNS = """
turns = 0
while turns < 100:
    try:
        with locked(folder):
            os.close(os.open(folder / "mine", os.O_CREAT | os.O_EXCL))
            os.unlink(folder / "mine")
            turns += 1
    except ConfigError:
        pass
print(turns, "turns")
"""


def start_python(code: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def print_together(code: str, folder: Path) -> list[str]:
    """Run code in three processes at the same time and return the lines that they print."""
    processes = [start_python(READY + code, folder) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    (folder / "go").touch()
    lines = [line for process in processes for line in process.communicate(timeout=60)[0].splitlines()]
    assert [process.returncode for process in processes] == [0, 0, 0]
    return lines


@contextmanager
def process_holding_lock(folder: Path) -> Iterator[subprocess.Popen[str]]:
    with start_python(HOLD, folder) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("lenet_digits", "lenet_digits"),
        ("optim.lr=0.1,seed=1", "optim.lr=0.1,seed=1"),
        ("../../etc/passwd", "etc_passwd"),
        ("/etc/passwd", "etc_passwd"),
        ("a\0b\nc", "a_b_c"),
        ("C:\\runs\\1", "C_runs_1"),
        (".hidden", "hidden"),
        ("größe-数字", "größe-数字"),
        ("x" * 300, "x" * 80),
        ("é" * 300, "é" * 40),
        ("", "run"),
        ("..", "run"),
        ("///", "run"),
    ],
)
def test_safe_name_is_a_readable_path_segment(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@given(name=st.text(max_size=200))
def test_safe_name_never_leaves_its_folder(name: str) -> None:
    safe = safe_name(name)
    assert len(Path("root", safe).parts) == 2
    assert safe not in ("", ".", "..")
    assert "\0" not in safe
    assert len(safe.encode()) <= 80


def test_run_folder_is_named_by_day_time_and_name(tmp_path: Path) -> None:
    folder = make_run_folder(tmp_path / "new" / "root", "a/b", NOON)
    assert folder == tmp_path / "new" / "root" / "2024-05-17" / "12-00-01_a_b"
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoints", "plots"]


def test_existing_folder_gets_a_suffix(tmp_path: Path) -> None:
    names = [make_run_folder(tmp_path, "same", NOON).name for _ in range(3)]
    assert names == ["12-00-01_same", "12-00-01_same-2", "12-00-01_same-3"]


def test_existing_file_gets_a_suffix(tmp_path: Path) -> None:
    (tmp_path / "job").write_text("mine")
    assert make_folder(tmp_path, "job").name == "job-2"
    assert (tmp_path / "job").read_text() == "mine"


def test_concurrent_threads_get_different_folders(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(lambda _: make_run_folder(tmp_path, "same", NOON), range(64)))
    assert len(set(folders)) == 64


def test_concurrent_processes_get_different_folders(tmp_path: Path) -> None:
    names = print_together(MAKE, tmp_path)
    assert len(names) == len(set(names)) == 60


@pytest.mark.parametrize("root", ["file", "file/below"])
def test_output_dir_that_is_a_file_is_rejected(tmp_path: Path, root: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"output_dir: cannot create .*file.*: Not a directory"):
        make_run_folder(tmp_path / root, "run")


def test_day_folder_that_is_a_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "2024-05-17").write_text("")
    with pytest.raises(ConfigError, match=r"output_dir: .*2024-05-17 is not a folder"):
        make_run_folder(tmp_path, "run", NOON)


def test_output_dir_that_cannot_be_written_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ConfigError, match=r"output_dir: cannot create .*_run: Permission denied"):
        make_run_folder(tmp_path, "run")


def test_lock_names_its_owner_and_is_removed(tmp_path: Path) -> None:
    with locked(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_lock_is_removed_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_folder_in_use_is_rejected_with_its_owner(tmp_path: Path) -> None:
    with process_holding_lock(tmp_path) as process:
        with pytest.raises(ConfigError, match=rf'{tmp_path}: in use by another process: {{"pid": {process.pid}'):
            locked(tmp_path).__enter__()
        assert (tmp_path / ".lock").exists()


def test_lock_of_a_killed_process_is_released(tmp_path: Path) -> None:
    with process_holding_lock(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / ".lock").exists()
    with locked(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("code", [HOLD_WITH_CHILD, HOLD_WITH_WORKER], ids=["fork", "DataLoader"])
def test_surviving_child_of_a_killed_process_does_not_hold_the_lock(tmp_path: Path, code: str) -> None:
    with start_python(code, tmp_path) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        os.kill(child, signal.SIGSTOP)  # otherwise a worker would notice that its parent has died
        process.kill()
        process.wait()
        try:
            with locked(tmp_path):
                assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
        finally:
            os.kill(child, signal.SIGKILL)  # raises if the child has exited


def test_lock_excludes_other_processes(tmp_path: Path) -> None:
    assert print_together(TAKE_TURNS, tmp_path) == ["100 turns"] * 3


def test_lock_file_removed_by_its_owner_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lock_after_the_owner(descriptor: int) -> bool:
        (tmp_path / ".lock").unlink()
        return True

    monkeypatch.setattr("filelock._unix.lock_fd_nonblocking", lock_after_the_owner)
    with pytest.raises(ConfigError, match="in use by another process: an unknown process"):
        locked(tmp_path).__enter__()


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        ("filelock._unix.lock_fd_nonblocking", "cannot be locked: Function not implemented"),
        ("pathlib.Path.write_text", "cannot be written: Function not implemented"),
    ],
)
def test_file_system_without_locks_or_space_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str, message: str
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(refused, refuse)
    with pytest.raises(RunnerError, match=message):
        locked(tmp_path).__enter__()
    monkeypatch.undo()
    with locked(tmp_path):
        pass


def test_missing_folder_cannot_be_locked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere: cannot be locked: No such file or directory"):
        locked(tmp_path / "nowhere").__enter__()
    assert list(tmp_path.iterdir()) == []
