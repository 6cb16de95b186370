"""Tests of saving a checkpoint when the process is killed, or the call fails, at each I/O call in turn."""

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from runner.errors import CheckpointError
from runner.training.saving.checkpoint import Checkpoints, load_checkpoint
from runner.training.saving.saver import Saver

PIECES = 4  # each write is split into this many, so that a kill can leave a partial file
WRITES = 4 * PIECES  # of a checkpoint: the archive, the length of its comment, and the two parts of the comment


def at(step: int) -> dict[str, Any]:
    return {"step": step, "model": {"weight": torch.full((64,), float(step))}}


@contextmanager
def io_layer(before: Callable[[str], None]) -> Iterator[None]:
    """Call `before` with the name of each I/O call, just before the call is made."""
    open_path = Path.open

    class Torn:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> "Torn":
            return self

        def __exit__(self, *exit_: Any) -> None:
            self.file.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def write(self, data: bytes) -> None:
            for piece in range(PIECES):
                before("write")
                self.file.write(data[len(data) * piece // PIECES : len(data) * (piece + 1) // PIECES])
                self.file.flush()

    def opened(path: Path, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
        if "w" not in mode:
            return open_path(path, mode, *arguments, **keywords)
        before("open")
        return Torn(open_path(path, mode, *arguments, **keywords))

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            before(function.__name__)
            return function(*arguments, **keywords)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", opened)
        for name in ("fsync", "replace", "link", "unlink"):
            patch.setattr(os, name, counted(getattr(os, name)))
        yield


def calls_of_a_save(folder: Path) -> list[str]:
    """Return the names of the I/O calls of one save, and check that every kind of call is among them."""
    calls: list[str] = []
    checkpoints = prepared(folder)
    with io_layer(calls.append):
        checkpoints.save(at(3), best=True)
    first = ["open", *["write"] * WRITES, "fsync", "replace", "fsync"]  # the last call syncs the folder
    assert calls[: len(first)] == first
    assert {"open", "write", "fsync", "replace", "link", "unlink"} == set(calls)
    return calls


def prepared(folder: Path) -> Checkpoints:
    """Save checkpoints of two steps and return them; the next save deletes one."""
    folder.mkdir()
    checkpoints = Checkpoints(folder, keep_last=1)
    for step in (1, 2):
        checkpoints.save(at(step), best=True)
    return checkpoints


def die_at(fatal: int, save: Callable[[], object]) -> None:
    """Kill this process before the I/O call with index `fatal` of a save; exit if the save has fewer calls."""
    calls: list[str] = []

    def count(name: str) -> None:
        if len(calls) == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        calls.append(name)

    with io_layer(count):
        save()
    os._exit(0)


def intact(checkpoints: Checkpoints, *allowed: int) -> None:
    """Assert that all checkpoint files are valid and that the newest is from one of the allowed steps."""
    newest, problems = checkpoints.load_newest("cpu")
    assert newest is not None
    assert problems == []
    assert newest["step"] in allowed
    assert torch.equal(newest["model"]["weight"], at(newest["step"])["model"]["weight"])
    for path in checkpoints.folder.glob("*.pt"):
        load_checkpoint(path)
    assert load_checkpoint(checkpoints.best)["step"] >= newest["step"]


def save_in_background(checkpoints: Checkpoints) -> None:
    saver = Saver(checkpoints)
    saver.start(at(3), best=True)
    saver.close()


def save_in_foreground(checkpoints: Checkpoints) -> None:
    checkpoints.save(at(3), best=True)


@pytest.mark.parametrize("save", [save_in_foreground, save_in_background])
def test_kill_at_any_call_leaves_a_valid_checkpoint(tmp_path: Path, save: Callable[[Checkpoints], None]) -> None:
    calls = calls_of_a_save(tmp_path / "count")
    for fatal in range(len(calls)):
        checkpoints = prepared(tmp_path / str(fatal))
        child = os.fork()
        if child == 0:
            die_at(fatal, partial(save, checkpoints))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, calls[fatal]
        intact(checkpoints, 2, 3)
        checkpoints.save(at(3), best=True)  # the resumed run can save again
        intact(checkpoints, 3)
        assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["best.pt", "last.pt", "step-000000003.pt"]


def test_kill_at_any_call_of_the_first_save_leaves_both_checkpoints_or_none(tmp_path: Path) -> None:
    calls = calls_of_a_save(tmp_path / "count")
    survived = 0
    for fatal in range(len(calls)):
        checkpoints = Checkpoints(tmp_path / str(fatal), keep_last=1)
        checkpoints.folder.mkdir()
        child = os.fork()
        if child == 0:
            die_at(fatal, partial(save_in_foreground, checkpoints))
        os.waitpid(child, 0)
        newest, _ = checkpoints.load_newest("cpu")
        if newest is not None:
            checkpoints.restore_best(newest["step"])
            intact(checkpoints, 3)
            survived += 1
        else:
            assert not checkpoints.best.exists()
    assert 0 < survived < len(calls)


@pytest.mark.parametrize("save", [save_in_foreground, save_in_background])
@pytest.mark.parametrize("for_good", [False, True])
def test_failing_call_is_reported_and_leaves_a_valid_checkpoint(
    tmp_path: Path, for_good: bool, save: Callable[[Checkpoints], None]
) -> None:
    calls = calls_of_a_save(tmp_path / "count")
    for failing in range(len(calls)):
        checkpoints = prepared(tmp_path / str(failing))
        count = 0

        def refuse(name: str, failing: int = failing) -> None:
            nonlocal count
            count += 1
            if count == failing + 1 or (for_good and count > failing):
                raise OSError(errno.EIO, "Input/output error")

        message = ""
        try:
            with io_layer(refuse):
                save(checkpoints)
        except CheckpointError as error:
            message = str(error)
        assert message == "" or "Input/output error" in message, calls[failing]
        # An error that is not reported was handled, such as a failed link, which is replaced by a copy.
        intact(checkpoints, *((2, 3) if message else (3,)))
