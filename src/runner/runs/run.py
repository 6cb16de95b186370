"""One run, from its folder to its results."""

import json
import logging
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.config.compose import freeze, read_overrides
from runner.config.schema import Config, flatten
from runner.errors import ConfigError, Diverged, RunnerError
from runner.machine.device import describe, resolve
from runner.machine.distributed import World, joined
from runner.machine.environment import describe_environment
from runner.machine.files import write_atomically
from runner.machine.signals import Stop
from runner.runs.final_test import test_best
from runner.runs.folder import locked
from runner.runs.messages import announce, log_outcome
from runner.tracking.console import logging_to, relative
from runner.tracking.results import Results, judge_fit
from runner.tracking.rewind import refuse_links, rewind
from runner.tracking.summary import count_parameters, summarize
from runner.tracking.tracker import NullTracker, Tracker
from runner.training.checkpoint import Checkpoints, Snapshot
from runner.training.loop import fit
from runner.training.parts import Parts
from runner.training.resume import assemble, load
from runner.training.trainer import Trainer

log = logging.getLogger("runner")


@dataclass(frozen=True)
class Order:
    """A request to train a run or to resume one.

    Args:
        config: checked config.
        overrides: overrides as typed; for a resumed run, the new ones.
        resume: whether to continue the run in the folder.
        swept: in a sweep, the swept keys with the values of this run, for TensorBoard's HPARAMS tab.
        should_stop: called with the epoch after each epoch; returns whether to end the run early. None for never.
    """

    config: Config
    overrides: list[str] = field(default_factory=list)
    resume: bool = False
    swept: Mapping[str, Any] = field(default_factory=dict)
    should_stop: Callable[[int], bool] | None = None


def run(order: Order, folder: Callable[[], Path]) -> int:
    """Train a run, evaluate the best checkpoint, and write all results; return the exit code.

    Under torchrun only rank 0 writes files.

    Args:
        order: run to train.
        folder: function that returns the run folder and creates it if necessary; called only on rank 0.

    Raises:
        ConfigError: another process uses the folder, or its checkpoint does not fit the config. Nothing was changed.
        CheckpointError: all checkpoints are damaged. Nothing was changed.
    """
    with joined(resolve(order.config.device.name)) as world:
        place = world.broadcast(folder() if world.leads else Path())
        return lead(order, world, place) if world.leads else follow(order, world, place)


def checkpoints_of(order: Order, folder: Path) -> Checkpoints:
    """Return the checkpoints of a run folder."""
    return Checkpoints(folder / "checkpoints", order.config.trainer.checkpoint.keep_last)


def load_saved(order: Order, checkpoints: Checkpoints) -> tuple[Snapshot | None, list[str]]:
    """Return the checkpoint to resume from, if any, and warnings about damaged ones."""
    return load(order.config, checkpoints, may_stop=order.should_stop is not None) if order.resume else (None, [])


def follow(order: Order, world: World, folder: Path) -> int:
    """Train on a rank other than 0, without writing files; return the exit code."""
    log.addHandler(logging.NullHandler())
    checkpoints = checkpoints_of(order, folder)
    with Stop(world=world) as stop:
        try:
            saved, _ = load_saved(order, checkpoints)
            parts, state = assemble(order.config, world, saved)
            stop.can_wait = True
            fit(Trainer(parts, state, NullTracker(), checkpoints, stop, order.should_stop))
        except KeyboardInterrupt:
            return stop.exit_code
        except (ConfigError, Diverged) as error:  # raised on every rank and reported by rank 0
            return error.exit_code
        except Exception as error:
            reason = str(error) if isinstance(error, RunnerError) else traceback.format_exc()
            print(f"error: process {world.rank}: {reason}", file=sys.stderr)
            return 1
        return stop.exit_code if stop.requested else 0


def lead(order: Order, world: World, folder: Path) -> int:
    """Train as rank 0 or as the only process; return the exit code."""
    if order.resume:
        refuse_links(folder)  # before locking, which writes a file
    with locked(folder):
        saved, warnings = load_saved(order, checkpoints_of(order, folder))
        earlier = read_overrides(folder / "overrides.yaml") if order.resume else []
        overrides = earlier + order.overrides
        try:
            write_atomically(folder / "overrides.yaml", freeze(overrides))
        except OSError as error:  # there is no log yet to report it
            raise RunnerError(f"{relative(folder)}: cannot be written: {error.strerror}") from error
        with logging_to(folder / "run.log"):
            for warning in warnings:
                log.warning(warning)
            results = Results.open(folder, order.config.name, order.config.seed, overrides)
            exit_code = lead_logged(order, world, folder, results, saved)
            log_outcome(results, folder)
            return exit_code


def lead_logged(order: Order, world: World, folder: Path, results: Results, saved: Snapshot | None) -> int:
    """Train with the log open, and record the outcome whatever happens; return the exit code."""
    with Stop(world=world) as stop:
        try:
            try:
                prepare(order, folder, saved, results)
                parts, state = assemble(order.config, world, saved)
                tracker = Tracker(folder, parts, results)
                trainer = Trainer(parts, state, tracker, checkpoints_of(order, folder), stop, order.should_stop)
                try:
                    announce(trainer, folder)
                    if saved is None:
                        describe_run(parts, folder, tracker, order.swept)
                    return train_and_test(trainer, tracker, results)
                finally:
                    tracker.close()
            except (Exception, SystemExit) as error:
                return leave(results, stop, error) if stop.cut_short else report(error, results)
        except KeyboardInterrupt:
            return leave(results, stop)


def prepare(order: Order, folder: Path, saved: Snapshot | None, results: Results) -> None:
    """Write config.yaml and the status; on resume, discard what was recorded after the checkpoint."""
    if order.resume:
        rewind(folder, saved["files"] if saved else {})
    write_atomically(folder / "config.yaml", freeze(order.config))
    count = results.values["resumed"] + order.resume
    results.update(status="running", error=None, finished=None, test={}, fit="unknown", resumed=count)


def describe_run(parts: Parts, folder: Path, tracker: Tracker, swept: Mapping[str, Any]) -> None:
    """Write model.txt and environment.json, and add model, config and hyperparameters to TensorBoard."""
    model = summarize(parts.model, parts.spec.in_shape)
    environment = describe_environment(describe(parts.device))
    write_atomically(folder / "model.txt", model)
    write_atomically(folder / "environment.json", json.dumps(environment, indent=2) + "\n")
    settings = flatten(parts.config.model_dump(exclude={"output_dir", "dry_run", "plugins", "sweep"}))
    tracker.describe({"model": model, "config": (folder / "config.yaml").read_text("utf-8")}, swept or settings)


def train_and_test(trainer: Trainer, tracker: Tracker, results: Results) -> int:
    """Train from the current state on, then evaluate the best checkpoint; return the exit code."""
    parts, state, stop = trainer.parts, trainer.state, trainer.stop
    results.update(parameters=count_parameters(parts.model))
    stop.can_wait = True
    fit(trainer)
    if not stop.requested:
        stop.alone()
        test_best(trainer, tracker, results)
    results.progress(state, parts)
    if stop.requested:
        results.end("interrupted")
        log.info("%s: stopped and saved at step %d.", stop.requested.name, state.step)
        return stop.exit_code
    fit_is = judge_fit(parts.spec.task, state.train, state.val)
    results.end("stopped early" if state.next == "stop" else "completed", fit=fit_is)
    return 0


def leave(results: Results, stop: Stop, error: BaseException | None = None) -> int:
    """End a run that a signal interrupted before the first step; return the exit code.

    Args:
        results: results of the run.
        stop: context that has received the signal.
        error: error that the signal caused, for run.log.
    """
    results.end("interrupted")
    log.info("%s: stopped before the first step.", stop.requested.name if stop.requested else "", exc_info=error)
    return stop.exit_code


def report(error: BaseException, results: Results) -> int:
    """Record an error in results.json and in the log, with its traceback in run.log; return the exit code."""
    known = isinstance(error, RunnerError)
    log.error("%s", error if known else f"{type(error).__name__}: {error}", exc_info=error)
    details = {"type": type(error).__name__, "message": str(error)}
    results.end("diverged" if isinstance(error, Diverged) else "failed", error=details)
    return error.exit_code if isinstance(error, RunnerError) else 1
