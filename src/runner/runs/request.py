"""The request to train a run, and the run folder that is opened for it."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.config.schema import Config
from runner.errors import Diverged
from runner.runs.elastic import Launch
from runner.runs.environment import changed_plugins
from runner.runs.folder import locked
from runner.tracking.console import relative
from runner.tracking.results import DONE, read_results
from runner.tracking.rewind import refuse_links
from runner.training.saving.checkpoint import Checkpoints, Snapshot
from runner.training.saving.resume import load

RELEASE = 60.0  # seconds in which the rank 0 before a restart has to release the run folder


@dataclass(frozen=True)
class Request:
    """A request to train a run or to resume one.

    Args:
        config: checked config.
        overrides: overrides as typed; for a resumed run, the new ones.
        resume: whether to continue the run in the folder.
        swept: in a sweep, the swept keys with the values of this run, for TensorBoard's HPARAMS tab.
        should_stop: called with the epoch after each epoch; returns whether to end the run early, or None to be called
            again later. None for never.
    """

    config: Config
    overrides: list[str] = field(default_factory=list)
    resume: bool = False
    swept: Mapping[str, Any] = field(default_factory=dict)
    should_stop: Callable[[int], bool | None] | None = None


@dataclass
class Opened:
    """An open run folder.

    Args:
        folder: the run folder.
        saved: checkpoint to continue from; None: start from scratch.
        resume: whether the run has been started before.
        warnings: what to log about damaged checkpoints and changed plugins.
        is_done: whether the run has ended before torchrun restarted its ranks, so that nothing is left to do.
    """

    folder: Path
    saved: Snapshot | None
    resume: bool
    warnings: list[str]
    is_done: bool


def checkpoints_of(request: Request, folder: Path) -> Checkpoints:
    """Return the checkpoints of a run folder."""
    return Checkpoints(folder / "checkpoints", request.config.trainer.checkpoint.keep_last)


def open_folder(request: Request, launch: Launch, folder: Callable[[], Path], stack: ExitStack) -> Opened:
    """Create or find the run folder, lock it, and load the checkpoint to continue from.

    Args:
        request: run to train.
        launch: record of the run folder, in which torchrun's restarts find it.
        folder: function that returns the run folder and creates it if necessary.
        stack: context that holds the lock.

    Raises:
        ConfigError: another process uses the folder, or its checkpoint does not fit the config.
        CheckpointError: all checkpoints are damaged.
        Diverged: the run has diverged before torchrun restarted it.
    """
    known = launch.folder()
    run_folder = known or folder()
    resume = request.resume or launch.restarted
    if resume:
        refuse_links(run_folder)  # before locking, which writes a file
    stack.enter_context(locked(run_folder, RELEASE if launch.restarted else 0))
    launch.record(run_folder)
    status = read_results(run_folder).get("status")
    if launch.restarted and status == "diverged":
        raise Diverged(f"{relative(run_folder)}: diverged before the restart, and would diverge again")
    may_stop = request.should_stop is not None
    saved, warnings = load(request.config, checkpoints_of(request, run_folder), may_stop) if resume else (None, [])
    warnings += changed_plugins(run_folder, request.config.plugins)
    return Opened(run_folder, saved, resume, warnings, launch.restarted and status in DONE)
