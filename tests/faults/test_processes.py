"""Tests of real processes that receive signals, lose a worker or run out of memory."""

import signal
import subprocess
from pathlib import Path

import pytest

from conftest import TINY
from helpers import checkpoint, equal, finish, metrics_table, results, scalars, signal_all, start, wait_until

LONG = [*TINY, "device.threads=1", "trainer.epochs=100000", "trainer.checkpoint.every_epochs=100000", "logger=none"]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 143}


def folder_of(workdir: Path) -> Path:
    """Wait until the run has created its folder and return it."""
    wait_until(lambda: any(workdir.glob("outputs/*/*/results.json")))
    return next(workdir.glob("outputs/*/*/results.json")).parent


def trains(folder: Path) -> bool:
    """Return whether the first epoch has ended."""
    return "INFO epoch " in (folder / "run.log").read_text()


def stop(process: subprocess.Popen[str], number: signal.Signals, times: int = 1) -> None:
    """Send a signal, and wait until the process exits with the exit code of the signal."""
    for _ in range(times):
        process.send_signal(number)
    finish(process, CODES[number])


@pytest.mark.slow
@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize(
    "where",
    [
        [],  # in a training step
        ["trainer.validate_every='1 step'", "trainer.eval_batch_size=1"],  # almost always in validation
        ["trainer.checkpoint.every_steps=1"],  # almost always in a save
    ],
    ids=["in a step", "in validation", "in a save"],
)
def test_signal_saves_and_ends_the_run(tmp_path: Path, number: signal.Signals, where: list[str]) -> None:
    process = start(*LONG, *where, cwd=tmp_path)
    folder = folder_of(tmp_path)
    wait_until(lambda: trains(folder))
    stop(process, number)
    assert results(folder)["status"] == "interrupted"
    assert checkpoint(folder)["step"] == results(folder)["step"] > 0


@pytest.mark.slow
def test_run_saves_when_its_workers_are_signaled_too(tmp_path: Path) -> None:
    process = start(*LONG, "dataset.in_memory=false", "dataset.workers=2", cwd=tmp_path)
    folder = folder_of(tmp_path)
    wait_until(lambda: trains(folder))
    signal_all(process.pid, signal.SIGTERM)
    finish(process, 143)
    assert results(folder)["status"] == "interrupted"
    assert checkpoint(folder)["step"] == results(folder)["step"] > 0


@pytest.mark.slow
def test_signal_before_the_first_step_is_deferred(tmp_path: Path) -> None:
    process = start(*LONG, cwd=tmp_path)
    folder = folder_of(tmp_path)  # results.json is written before the data is loaded and the model is built
    stop(process, signal.SIGTERM)
    assert results(folder)["status"] == "interrupted"
    finish(start("resume", str(folder), "trainer.epochs=2", cwd=tmp_path))
    assert results(folder)["status"] == "completed"


@pytest.mark.slow
def test_repeated_signals_during_a_save_leave_a_valid_checkpoint(tmp_path: Path) -> None:
    process = start(*LONG, "trainer.checkpoint.every_steps=1", cwd=tmp_path)
    folder = folder_of(tmp_path)
    wait_until(lambda: trains(folder))
    stop(process, signal.SIGTERM, times=20)
    assert results(folder)["status"] == "interrupted"
    checkpoint(folder)


@pytest.mark.slow
def test_killed_worker_is_reported_and_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    streamed = [*TINY, "device.threads=1", "dataset.in_memory=false", "dataset.workers=2", "trainer.epochs=400"]
    streamed += ["trainer.checkpoint.every_steps=1", "logger=none"]
    process = start(*streamed, cwd=tmp_path)
    folder = folder_of(tmp_path)
    wait_until(lambda: (folder / "checkpoints" / "last.pt").exists())
    workers = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    subprocess.run(["kill", "-KILL", workers[0]], check=True)
    output = finish(process, code=1)
    assert "DataLoader worker" in output
    assert results(folder)["status"] == "failed"
    reached = checkpoint(folder)["step"]
    more = f"trainer.epochs={reached // 6 + 2}"
    finish(start("resume", str(folder), more, cwd=tmp_path))
    finish(start(*streamed, more, cwd=tmp_path))
    (undisturbed,) = set(tmp_path.glob("outputs/*/*")) - {folder}
    assert equal(checkpoint(folder), checkpoint(undisturbed))
    assert metrics_table(folder) == metrics_table(undisturbed)


@pytest.mark.slow
def test_out_of_memory_is_reported_and_run_can_be_resumed(tmp_path: Path) -> None:
    (tmp_path / "hungry_plugin.py").write_text(
        "import os, torch\n"
        "from runner.registry import LOSSES\n"
        "class Hungry(torch.nn.CrossEntropyLoss):\n"
        "    calls = 0\n"
        "    def forward(self, outputs, targets):\n"
        "        Hungry.calls += outputs.device.type != 'meta'\n"
        "        if Hungry.calls == 9 and not os.path.exists('fed'):\n"
        "            torch.ones(1 << 50)\n"
        "        return super().forward(outputs, targets)\n"
        "@LOSSES.register('hungry')\n"
        "def hungry(): return Hungry()\n"
    )
    (tmp_path / "mine" / "loss").mkdir(parents=True)
    (tmp_path / "mine" / "loss" / "hungry.yaml").write_text("name: hungry\n")
    own = [*TINY, "loss=hungry", "plugins=[hungry_plugin]", "--config-dir=mine"]
    output = finish(start(*own, cwd=tmp_path), code=1)
    assert "memory" in output
    folder = folder_of(tmp_path)
    assert results(folder)["status"] == "failed"
    (tmp_path / "fed").touch()
    finish(start("resume", str(folder), cwd=tmp_path))
    finish(start(*own, cwd=tmp_path))
    (undisturbed,) = set(tmp_path.glob("outputs/*/*")) - {folder}
    assert equal(checkpoint(folder), checkpoint(undisturbed))
    assert sorted(scalars(folder)) == sorted(scalars(undisturbed))
