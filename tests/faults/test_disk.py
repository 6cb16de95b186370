"""Tests of real processes on full and read-only disks, and with a file size limit."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import TINY
from helpers import checkpoint, results
from runner import cli
from runner.tracking.tracker import Tracker
from runner.training.saving.checkpoint import load_checkpoint

OFTEN = [*TINY, "device.threads=1", "trainer.checkpoint.every_steps=1", "trainer.checkpoint.keep_last=1"]


def run(arguments: list[str], cwd: Path, before: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runner", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, preexec_fn=before)


def in_own_mounts(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in its own mount namespace, where it may mount file systems."""
    apart = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
    return subprocess.run(apart, capture_output=True, text=True)


@pytest.mark.slow
def test_file_size_limit_fails_the_save_and_keeps_older_checkpoints(tmp_path: Path) -> None:
    # Adam allocates its state in the first step; from then on, checkpoints are three times as large.
    first = run([*OFTEN, "optim=adam", "trainer.max_steps=3"], tmp_path)
    assert first.returncode == 0, first.stdout
    (folder,) = tmp_path.glob("outputs/*/*")
    size = (folder / "checkpoints" / "last.pt").stat().st_size
    limit = size - 1

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = run(["resume", str(folder), "trainer.max_steps=9"], tmp_path, limited)
    assert done.returncode == 1, done.stdout
    message = results(folder)["error"]["message"]
    assert "step-000000004.pt: cannot write" in message
    assert "File too large" in message
    assert results(folder)["status"] == "failed"
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [
        "best.pt",
        "last.pt",
        "step-000000003.pt",
    ]
    assert load_checkpoint(folder / "checkpoints" / "last.pt")["step"] == 3

    again = run(["resume", str(folder)], tmp_path)
    assert again.returncode == 0, again.stdout
    assert checkpoint(folder)["step"] == 9


@pytest.mark.slow
def test_full_disk_keeps_old_checkpoints_and_reports_path_and_size(tmp_path: Path) -> None:
    # A separate file system, small enough to fill up while the run saves.
    disk, outside = tmp_path / "disk", tmp_path / "outside"
    disk.mkdir()
    outside.mkdir()
    command = " ".join([sys.executable, "-m", "runner", *(f"'{value}'" for value in OFTEN), "model.hidden=[512]"])
    script = (
        f"mount -t tmpfs -o size=2m tmpfs {disk} && cd {disk} && "
        f"{command} trainer.checkpoint.keep_last=99 optim=adam trainer.epochs=9; "
        f"code=$?; cp -a {disk}/. {outside}; exit $code"
    )
    done = in_own_mounts(script)
    assert done.returncode == 1, done.stdout + done.stderr
    (folder,) = outside.glob("outputs/*/*")
    assert "no room: needs " in done.stdout or "No space left on device" in done.stdout
    assert ".pt: " in done.stdout
    names = [path.name for path in (folder / "checkpoints").iterdir()]
    assert [name for name in names if name.endswith(".part")] == []
    for name in names:
        load_checkpoint(folder / "checkpoints" / name)


@pytest.mark.slow
def test_read_only_output_folder_fails_at_start(tmp_path: Path) -> None:
    script = f"mount -t tmpfs -o ro tmpfs {tmp_path} && cd {tmp_path} && {sys.executable} -m runner"
    done = in_own_mounts(script)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "output_dir: cannot create" in done.stderr
    assert "Read-only file system" in done.stderr


def test_failing_tensorboard_and_csv_warn_once_and_training_continues(
    runner: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    announced = Tracker.__init__

    def spoil(self: Tracker, folder: Path, *arguments: object) -> None:
        announced(self, folder, *arguments)  # type: ignore[arg-type]
        assert self.board is not None
        self.board.close()
        self.board._file = Path("/dev/full").open("ab")  # noqa: SIM115
        (folder / "metrics.csv").mkdir()

    monkeypatch.setattr(Tracker, "__init__", spoil)
    folder = runner("trainer.epochs=3", "trainer.log_every=1")
    log = (folder / "run.log").read_text()
    assert results(folder)["status"] == "completed"
    assert log.count("metrics.csv: cannot be written") == 1
    assert log.count("training continues without TensorBoard") == 1


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff\xfe"])
def test_resume_replaces_a_damaged_results_file(runner: Callable[..., Path], damage: bytes) -> None:
    folder = runner()
    (folder / "results.json").write_bytes(damage)
    assert cli.main(["resume", str(folder)]) == 0
    assert results(folder)["status"] == "completed"


@pytest.mark.slow
def test_run_continues_if_its_output_cannot_be_written(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "runner", *TINY, "device.threads=1"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "warning: the output cannot be written: No space left on device; nothing more is printed\n"
    (folder,) = tmp_path.glob("outputs/*/*")
    assert results(folder)["status"] == "completed"

    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "runner", "compare", "outputs"]
        done = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == done.stderr.count("No space left on device") == 1


def test_full_disk_at_the_start_is_reported_in_one_line(tmp_path: Path) -> None:
    script = (
        f"mount -t tmpfs -o size=1m tmpfs {tmp_path} && cd {tmp_path} && "
        f"(cat /dev/zero > fill 2> /dev/null; {sys.executable} -m runner {TINY[0]})"
    )
    done = in_own_mounts(script)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "cannot be written: No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_folder_name_that_the_locale_cannot_encode_is_logged(tmp_path: Path) -> None:
    (tmp_path / "größe").mkdir()
    plain = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "runner", *TINY]
    done = subprocess.run(command, cwd=tmp_path / "größe", env=os.environ | plain, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
