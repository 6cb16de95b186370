"""One run, from its folder to its results."""

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from runner.config.frozen import freeze, read_overrides
from runner.config.schema import flatten
from runner.errors import ConfigError, Diverged, RunnerError
from runner.machine.device import describe, resolve
from runner.machine.distributed import World, join
from runner.machine.distributed import leave as leave_group
from runner.machine.environment import describe_environment
from runner.machine.failures import explain
from runner.machine.files import write_atomically
from runner.machine.seeds import restore_rng_state, rng_state
from runner.machine.signals import Stop
from runner.runs.agreement import facts
from runner.runs.elastic import Launch
from runner.runs.environment import hash_plugins
from runner.runs.final_test import test_best
from runner.runs.messages import announce, log_outcome
from runner.runs.request import Opened, Request, checkpoints_of, open_folder
from runner.tracking.console import logging_to, relative
from runner.tracking.events import logged
from runner.tracking.results import DONE, Results, judge_fit
from runner.tracking.rewind import rewind
from runner.tracking.summary import count_parameters, summarize
from runner.tracking.tracker import NullTracker, Tracker
from runner.training.loop import fit
from runner.training.parts import Parts
from runner.training.saving.checkpoint import Snapshot
from runner.training.saving.resume import assemble, changes
from runner.training.setup.hints import place
from runner.training.trainer import Trainer

log = logging.getLogger("runner")


def run(request: Request, folder: Callable[[], Path]) -> int:
    """Train a run, evaluate the best checkpoint, and write all results; return the exit code.

    Under torchrun only rank 0 writes files. After a failure, the process ends without waiting for the other ranks.

    Args:
        request: run to train.
        folder: function that returns the run folder and creates it if necessary; called only on rank 0.

    Raises:
        ConfigError: another process uses the folder, its checkpoint does not fit the config, or the ranks differ in
            their config or code. Nothing was changed.
        CheckpointError: all checkpoints are damaged. Nothing was changed.
        RunnerError: other ranks are missing.
    """
    world = join(resolve(request.config.device.name), request.config.device.timeout)
    try:
        if world.size > 1:
            world.check_ranks_agree(facts(request.config))
        code = lead(request, world, folder) if world.is_leader else follow(request, world)
    except Exception as error:
        cause = explain(world, error)
        world.report_failure(f"{type(error).__name__}: {error}")
        if cause is error:
            raise
        raise cause from error
    return code if world.size == 1 else end_process(code)


def end_process(code: int) -> int:
    """End this process at once, because freeing what the ranks have shared can wait for other ranks."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def follow(request: Request, world: World) -> int:
    """Train on a rank other than 0, without writing files; return the exit code.

    Raises:
        RunnerError: rank 0 cannot open the run folder.
    """
    log.addHandler(logging.NullHandler())
    found: Opened | RunnerError = world.broadcast(None)  # type: ignore[assignment]  # the value of rank 0
    if isinstance(found, RunnerError):
        raise found
    if found.is_done:
        return 0
    with Stop(ranks=world.size) as stop:
        try:
            parts, state = assemble(request.config, world, found.saved)
            found.saved = None  # which may be large
            stop.can_wait = True
            trainer = Trainer(
                parts, state, NullTracker(), checkpoints_of(request, found.folder), stop, request.should_stop
            )
            world.in_use = trainer
            fit(trainer)
        except KeyboardInterrupt:
            return stop.exit_code
        except (ConfigError, Diverged) as error:  # usually raised on every rank, and reported by rank 0
            world.report_failure(str(error))
            return error.exit_code if isinstance(error, Diverged) else 1
        except Exception as error:
            cause = explain(world, error)
            reason = str(cause) if isinstance(cause, RunnerError) else traceback.format_exc()
            world.report_failure(reason.splitlines()[-1])
            print(f"error: rank {world.rank}: {reason}", file=sys.stderr)
            return 1
        if stop.requested:
            return stop.exit_code
        leave_group(world)
        return 0


def lead(request: Request, world: World, folder: Callable[[], Path]) -> int:
    """Train as rank 0 or as the only process; return the exit code."""
    launch = Launch(Path(request.config.output_dir).absolute(), world.members)
    with ExitStack() as stack:
        try:
            opened = open_folder(request, launch, folder, stack)
        except (RunnerError, OSError) as error:
            world.broadcast(error if isinstance(error, RunnerError) else RunnerError(str(error)))
            raise
        world.broadcast(opened)
        if opened.is_done:
            launch.forget()
            return 0
        request, run_folder = replace(request, resume=opened.resume), opened.folder
        earlier = read_overrides(run_folder / "overrides.yaml") if request.resume else []
        overrides = earlier if launch.restarted and earlier else earlier + request.overrides
        try:
            write_atomically(run_folder / "overrides.yaml", freeze(overrides))
        except OSError as error:  # there is no log yet to report it
            raise RunnerError(f"{relative(run_folder)}: cannot be written: {error.strerror}") from error
        with logging_to(run_folder / "run.log"):
            for warning in opened.warnings:
                log.warning(warning)
            results = Results.open(run_folder, request.config.name, request.config.seed, overrides)
            exit_code = lead_logged(request, world, results, opened)
            log_outcome(results, run_folder, exit_code)
        if results.values["status"] in DONE:
            launch.forget()
        return exit_code


def lead_logged(request: Request, world: World, results: Results, opened: Opened) -> int:
    """Train with the log open, and record the outcome whatever happens; return the exit code.

    The inner `try` closes the tracker, the next one records an error, and the outer one a signal before the first step.
    """
    folder, is_new = opened.folder, opened.saved is None
    with Stop(ranks=world.size) as stop:
        try:
            try:
                prepare(request, folder, opened.saved, results)
                parts, state = assemble(request.config, world, opened.saved)
                opened.saved = None  # which may be large
                tracker = Tracker(folder, parts, results)
                trainer = Trainer(parts, state, tracker, checkpoints_of(request, folder), stop, request.should_stop)
                world.in_use = trainer
                try:
                    announce(trainer, folder)
                    if is_new:
                        describe_run(parts, folder, tracker, request.swept)
                    return train_and_test(trainer, tracker, results)
                finally:
                    tracker.close()
            except (Exception, SystemExit) as error:
                return leave(results, stop, error) if stop.cut_short else report(explain(world, error), world, results)
        except KeyboardInterrupt:
            return leave(results, stop)


def prepare(request: Request, folder: Path, saved: Snapshot | None, results: Results) -> None:
    """Write config.yaml and the status; on resume, discard what was recorded after the checkpoint."""
    if request.resume:
        rewind(folder, saved["files"] if saved else {})
    write_atomically(folder / "config.yaml", freeze(request.config))
    count = results.values["resumed"] + request.resume
    changed = changes(results.values["changed"], saved, request.config)
    results.update(status="running", error=None, finished=None, test={}, fit="unknown", resumed=count, changed=changed)


def describe_run(parts: Parts, folder: Path, tracker: Tracker, swept: Mapping[str, Any]) -> None:
    """Write model.txt and environment.json, and add model, config and hyperparameters to TensorBoard."""
    random = rng_state(parts.device)  # a run trained again by `verify` does not describe itself
    inputs, _ = parts.train.first(2)
    model = summarize(parts.model, lambda: parts.task.forward(parts.model, inputs))
    restore_rng_state(random, parts.device)
    environment = describe_environment(describe(parts.device)) | {"plugins": hash_plugins(parts.config.plugins)}
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
        stop.stop_agreeing()
        leave_group(parts.world)  # the other ranks have finished
        test_best(trainer, tracker, results)
    results.progress(state, parts)
    if stop.requested:
        results.end("interrupted")
        event = logged("stopped", signal=stop.requested.name, epoch=state.epoch, step=state.step)
        log.info("%s: stopped and saved at step %d.", stop.requested.name, state.step, extra=event)
        return stop.exit_code
    fit_is = judge_fit(parts.task.score, state.train, state.val)
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
    name = stop.requested.name if stop.requested else ""
    event = logged("stopped", signal=name, epoch=results.values["epoch"], step=results.values["step"])
    log.info("%s: stopped before the first step.", name, exc_info=error, extra=event)
    return stop.exit_code


def report(error: BaseException, world: World, results: Results) -> int:
    """Record an error in results.json and in the log, with its traceback in run.log; return the exit code."""
    world.report_failure(f"{type(error).__name__}: {error}")
    at = f"{place(error)}\nthe traceback is in {relative(results.path.with_name('run.log'))}"
    message = str(error) if isinstance(error, RunnerError) else f"{type(error).__name__}: {error}{at}"
    exit_code = error.exit_code if isinstance(error, Diverged) else 1  # not 2, which says that nothing was created
    details = {"type": type(error).__name__, "message": str(error)}
    results.end("diverged" if isinstance(error, Diverged) else "failed", error=details)
    log.error("%s", message, exc_info=error, extra=logged("error", **details, exit_code=exit_code))
    return exit_code
