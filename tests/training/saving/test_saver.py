"""Tests of saving in the background. `tests/faults/test_io.py` kills the process at each call of a save."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch

from helpers import results
from runner.errors import CheckpointError
from runner.runs import run
from runner.tracking.tracker import Tracker
from runner.training.saving.checkpoint import Checkpoints, load_checkpoint
from runner.training.saving.saver import Saver


class Gated(Checkpoints):
    """Checkpoints whose saves wait for permission, and then fail if there is an error."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, keep_last=1)
        self.begun, self.allowed = Event(), Event()
        self.error: Exception | None = None

    def save(self, contents: Mapping[str, Any], best: bool) -> Path:
        self.begun.set()
        assert self.allowed.wait(timeout=60)
        if self.error is not None:
            raise self.error
        return super().save(contents, best)


@pytest.fixture
def gated(tmp_path: Path) -> Gated:
    return Gated(tmp_path)


def at(step: int) -> dict[str, Any]:
    return {"step": step, "weight": torch.full((4,), float(step))}


def test_save_does_not_wait_for_the_file(gated: Gated) -> None:
    saver = Saver(gated)
    saver.start(at(1), best=False)
    assert gated.begun.wait(timeout=60)
    saver.check()
    assert not gated.last.exists()
    gated.allowed.set()
    saver.wait()
    assert load_checkpoint(gated.last)["step"] == 1
    saver.close()


def test_second_save_waits_for_the_first(gated: Gated) -> None:
    saver = Saver(gated)
    saver.start(at(1), best=False)
    gated.begun.wait(timeout=60)
    gated.allowed.set()
    saver.start(at(2), best=False)
    assert load_checkpoint(gated.folder / "step-000000001.pt")["step"] == 1
    saver.close()
    assert load_checkpoint(gated.last)["step"] == 2


def repeat(call: Callable[[], object]) -> None:
    for _ in range(1000):
        call()
        time.sleep(0.01)


@pytest.mark.parametrize("method", ["check", "wait", "close", "start"])
def test_error_of_a_save_is_raised_by_the_next_call(gated: Gated, method: str) -> None:
    saver, gated.error = Saver(gated), CheckpointError("no room")
    saver.start(at(1), best=False)
    gated.allowed.set()
    call = partial(saver.start, at(2), best=False) if method == "start" else getattr(saver, method)
    with pytest.raises(CheckpointError, match="no room"):
        repeat(call)  # `check` does not wait
    gated.error = None
    saver.start(at(3), best=False)  # the error is raised once
    saver.close()
    assert load_checkpoint(gated.last)["step"] == 3


def test_checkpoint_holds_the_weights_of_its_step_although_training_goes_on(
    runner: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    every = ["trainer.checkpoint.every_steps=1", "trainer.checkpoint.keep_last=100", "trainer.max_steps=4"]
    settings = ["optim=adam", "trainer.ema=0.9", "device.threads=1"]
    at_once = runner(*every, *settings)
    saved: list[Mapping[str, Any]] = []
    save = Checkpoints.save

    def late(self: Checkpoints, contents: Mapping[str, Any], best: bool) -> Path:
        saved.append(contents)
        return self.folder

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", late)
        patch.setattr(run, "test_best", lambda *arguments: None)
        folder = runner(*every, *settings)
    checkpoints = Checkpoints(folder / "checkpoints", keep_last=100)
    for contents in saved:
        save(checkpoints, contents, best=False)
    for path in (at_once / "checkpoints").glob("step-*.pt"):
        expected, found = load_checkpoint(path), load_checkpoint(folder / "checkpoints" / path.name)
        for key in ("model", "ema", "optimizer", "shards"):
            torch.testing.assert_close(found[key], expected[key], rtol=0, atol=0)


def test_failed_save_ends_the_run_before_the_next_save(
    runner: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def fail(self: Checkpoints, contents: Mapping[str, Any], best: bool) -> Path:
        raise CheckpointError(f"step {contents['step']}: no room")

    def progress(self: Tracker, step: int) -> None:
        steps.append(step)
        time.sleep(0.01)  # for the thread to fail

    monkeypatch.setattr(Checkpoints, "save", fail)
    monkeypatch.setattr(Tracker, "progress", progress)
    folder = runner("trainer.checkpoint.every_steps=50", "trainer.batch_size=8", code=1)
    assert results(folder)["error"] == {"type": "CheckpointError", "message": "step 50: no room"}
    assert results(folder)["status"] == "failed"
    assert 50 <= steps[-1] < 100
