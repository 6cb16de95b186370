"""One run, from its folder to its results."""

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from runner.config.compose import freeze, read_overrides
from runner.config.schema import Config, flatten
from runner.errors import ConfigError, Diverged, RunnerError
from runner.machine.device import describe, resolve
from runner.machine.distributed import World, joined
from runner.machine.environment import describe_environment
from runner.machine.files import write_atomically
from runner.machine.signals import Stop
from runner.runs.folder import locked
from runner.sweep.halving import Rungs
from runner.tracking.console import logging_to, relative
from runner.tracking.results import DONE, Results, judge_fit
from runner.tracking.summary import count_parameters, summarize
from runner.tracking.tracker import Silent, Tracker, cut_back, refuse_links
from runner.training.checkpoint import Checkpoints, Snapshot, load_checkpoint
from runner.training.loop import fit, predict
from runner.training.metrics import Metrics
from runner.training.parts import Parts
from runner.training.resume import assemble, load
from runner.training.state import TrainState

log = logging.getLogger("runner")


def run(
    config: Config,
    folder: Callable[[], Path],
    overrides: list[str],
    resume: bool = False,
    swept: Mapping[str, Any] | None = None,
) -> int:
    """Trains in a folder, tests the best checkpoint, and leaves the whole story there; returns the exit code.

    Under torchrun the first process does, and the others train along.

    Args:
        folder: gives the run's folder, to the first process alone: it may make it.
        overrides: as typed; for a resumed run, those that are new.
        swept: in a sweep, the keys that it is over, with this run's values: what HPARAMS shows of it.

    Raises:
        ConfigError: another process works in the folder, or its checkpoint is of another run.
        CheckpointError: it has checkpoints, and none is good. In all these cases nothing was touched.
    """
    with joined(resolve(config.device.name)) as world:
        place = world.tell(folder() if world.leads else Path())
        checkpoints = Checkpoints(place / "checkpoints", config.trainer.checkpoint.keep_last)
        # Who resumes a run of a sweep with new values, such as more epochs, gets them, whatever its siblings do.
        rungs = None if resume and overrides else Rungs.of(config, place)
        if not world.leads:
            return follow(config, world, checkpoints, rungs, resume)
        return lead(config, world, place, checkpoints, rungs, overrides, resume, swept or {})


def follow(config: Config, world: World, checkpoints: Checkpoints, rungs: Rungs | None, resume: bool) -> int:
    """What the other processes of a run do: they train along, and write nothing."""
    log.addHandler(logging.NullHandler())
    with Stop(world=world) as stop:
        try:
            saved, _ = load(config, checkpoints, rungs) if resume else (None, [])
            parts, state = assemble(config, world, rungs, saved)
            stop.can_wait = True
            fit(parts, state, Silent(), checkpoints, stop)
        except KeyboardInterrupt:
            return stop.exit_code
        except (ConfigError, Diverged) as error:  # which all find, and the leader tells
            return error.exit_code
        except Exception as error:
            reason = str(error) if isinstance(error, RunnerError) else traceback.format_exc()
            print(f"error: process {world.rank}: {reason}", file=sys.stderr)
            return 1
        return stop.exit_code if stop.requested else 0


def lead(
    config: Config,
    world: World,
    folder: Path,
    checkpoints: Checkpoints,
    rungs: Rungs | None,
    overrides: list[str],
    resume: bool,
    swept: Mapping[str, Any],
) -> int:
    """What the first process does, or the only one: the whole run, told in its folder."""
    if resume:
        refuse_links(folder)  # before the lock, which is a file too
    with locked(folder):
        saved, warnings = load(config, checkpoints, rungs) if resume else (None, [])
        if resume:
            overrides = read_overrides(folder / "overrides.yaml") + overrides
        try:
            write_atomically(folder / "overrides.yaml", freeze(overrides))
        except OSError as error:  # before there is a log that could not be written either
            raise RunnerError(f"{relative(folder)}: cannot be written: {error.strerror}") from error
        with logging_to(folder / "run.log"):
            results = Results.open(folder, config.name, config.seed, overrides)
            with Stop(world=world) as stop:
                try:
                    try:
                        for warning in warnings:
                            log.warning(warning)
                        prepare(config, folder, saved, results, resume)
                        parts, state = assemble(config, world, rungs, saved)
                        exit_code = train_and_test(parts, state, folder, checkpoints, results, stop, swept, not saved)
                    except (Exception, SystemExit) as error:
                        exit_code = leave(results, stop, error) if stop.cut_short else report(error, results)
                except KeyboardInterrupt:
                    exit_code = leave(results, stop)
                say_what_came(results, folder)
                return exit_code


def prepare(config: Config, folder: Path, saved: Snapshot | None, results: Results, resume: bool) -> None:
    """Writes down what will run, and takes away what a resumed run wrote after its checkpoint."""
    if resume:
        cut_back(folder, saved["files"] if saved else {})
    write_atomically(folder / "config.yaml", freeze(config))
    count = results.values["resumed"] + resume
    results.update(status="running", error=None, finished=None, test={}, fit="unknown", resumed=count)


def train_and_test(
    parts: Parts,
    state: TrainState,
    folder: Path,
    checkpoints: Checkpoints,
    results: Results,
    stop: Stop,
    swept: Mapping[str, Any],
    is_new: bool,
) -> int:
    """The steps of a run, from where its state stands. Returns the exit code; raises what goes wrong."""
    announce(parts, state, folder)

    tracker = Tracker(folder, parts, results)
    try:
        if is_new:
            describe_run(parts, folder, tracker, swept)
        results.update(parameters=count_parameters(parts.model))
        stop.can_wait = True
        fit(parts, state, tracker, checkpoints, stop)
        if not stop.requested:
            stop.alone()
            test_best(parts, state, checkpoints, tracker, results, folder, stop)
    finally:
        tracker.close()
    results.progress(state, parts)
    if stop.requested:
        results.end("interrupted")
        log.info("%s: stopped and saved at step %d.", stop.requested.name, state.step)
        return stop.exit_code
    fit_is = judge_fit(parts.spec.task, state.train, state.val)
    results.end("stopped early" if state.behind else "completed", fit=fit_is)
    return 0


def announce(parts: Parts, state: TrainState, folder: Path) -> None:
    """What a person wants to know before the training starts."""
    several = f", {parts.world.size} processes" if parts.world.size > 1 else ""
    config, (train, val, test) = parts.config, (len(batches.source) for batches in (parts.train, parts.val, parts.test))
    parameters, samples = count_parameters(parts.model), config.trainer.batch_size * config.trainer.accumulate
    typed = read_overrides(folder / "overrides.yaml")
    lines = [
        f"folder   {relative(folder)}",
        *([f"config   {' '.join(typed)}"] if typed else []),
        f"model    {config.model.name}, {parameters:,} parameters, on {describe(parts.device)}{several}",
        f"data     {config.dataset.name}, {train:,} training, {val:,} validation, {test:,} test samples",
        f"train    {config.loss.name}, {config.optim.name}, {parts.total_steps:,} steps of {samples:,} samples",
    ]
    for group in parts.optimizer.param_groups if config.optim.groups else []:
        own = " ".join(f"{key} {group[key]}" for key in own_keys(config))
        lines.append(f"group    {own}: {', '.join(names_of(parts, group['params']))}")
    if state.step:
        lines.append(f"resumed  after step {state.step:,}, epoch {state.epoch}")
    for line in lines:
        log.info(line)


def own_keys(config: Config) -> list[str]:
    """The learning rate, and what else some of optim.groups set."""
    return list(dict.fromkeys(["lr", *(key for group in config.optim.groups for key in group if key != "match")]))


def names_of(parts: Parts, parameters: list[Tensor]) -> list[str]:
    """The names of parameters in the model."""
    return [name for name, parameter in parts.model.named_parameters() if any(parameter is p for p in parameters)]


def describe_run(parts: Parts, folder: Path, tracker: Tracker, swept: Mapping[str, Any]) -> None:
    """Writes down what the run is: model, environment, and in TensorBoard config and hyperparameters."""
    model = summarize(parts.model, parts.spec.in_shape)
    environment = describe_environment(describe(parts.device))
    write_atomically(folder / "model.txt", model)
    write_atomically(folder / "environment.json", json.dumps(environment, indent=2) + "\n")
    everything = flatten(parts.config.model_dump(exclude={"output_dir", "dry_run", "plugins", "sweep"}))
    tracker.describe({"model": model, "config": (folder / "config.yaml").read_text("utf-8")}, swept or everything)


def test_best(
    parts: Parts,
    state: TrainState,
    checkpoints: Checkpoints,
    tracker: Tracker,
    results: Results,
    folder: Path,
    stop: Stop,
) -> None:
    """The best checkpoint on the test split: metrics, and pictures of what it gets right and wrong."""
    parts.load_weights(
        load_checkpoint(checkpoints.best if checkpoints.best.exists() else checkpoints.last, parts.device)
    )
    metrics, found = Metrics(parts.spec.task, parts.device), []
    for outputs, targets, loss in predict(parts, parts.test):
        metrics.update(loss, outputs, targets)
        found.append((outputs.cpu(), targets.cpu()))
        if stop.requested:
            return
    test = metrics.compute()
    results.update(test=test)
    tracker.scalars({f"test/{name}": value for name, value in test.items()}, results.values["step"])
    numbers = "  ".join(f"{name} {value:.4g}" for name, value in test.items())
    log.info("test     best checkpoint, of epoch %d: %s", state.best.epoch, numbers)
    all_outputs, all_targets = (torch.cat(tensors) for tensors in zip(*found, strict=True))
    for line in details(parts, state, all_outputs, all_targets):
        log.info(line)
    tracker.weights(results.values["step"])
    try:
        draw(parts, all_outputs, all_targets, folder)
        tracker.pictures(results.values["step"])
    except Exception:  # a picture is not worth a run
        log.warning("The plots could not be drawn.", exc_info=True)


def details(parts: Parts, state: TrainState, outputs: Tensor, targets: Tensor) -> list[str]:
    """What the numbers alone do not tell: cost of a step, recall of each class, small models' weights."""
    waiting = state.data_seconds / max(state.seconds, 1e-9)
    lines = [
        f"speed    {1e6 * state.seconds / max(state.step, 1):,.0f} microseconds a step, with validation and saving",
        f"waiting  {waiting:.1%} of the time for data",
    ]
    if parts.device.type == "cpu" and torch.get_num_threads() > 1 and is_overloaded():
        lines.append("hint     more runs than cores on this machine: device.threads=1 makes each of them faster")
    if waiting > 0.2 and not parts.config.dataset.in_memory:
        lines.append("hint     more dataset.workers read faster; device.threads=1 leaves them the other cores")
    if parts.spec.task == "classification" and len(parts.spec.classes) <= 20:
        right = torch.bincount(targets[outputs.argmax(1) == targets], minlength=len(parts.spec.classes))
        recall = right / torch.bincount(targets, minlength=len(parts.spec.classes)).clamp(min=1)
        lines += packed("recall   ", [f"{name} {r:.2f}" for name, r in zip(parts.spec.classes, recall, strict=True)])
    if count_parameters(parts.model) <= 16:
        for name, parameter in parts.judged.named_parameters():
            lines.append(f"learned  {name} = {', '.join(f'{value:.4f}' for value in parameter.flatten().tolist())}")
    return lines


def is_overloaded() -> bool:
    """Return whether clearly more threads than there are cores have wanted to compute in the last minute."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > 1.25 * (os.cpu_count() or 1)


def packed(head: str, parts: Sequence[str], width: int = 80) -> list[str]:
    """Return lines of parts, as many in each as there is room for, below one another."""
    lines = [head + parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + 2 + len(part) <= width:
            lines[-1] += f"  {part}"
        else:
            lines.append(" " * len(head) + part)
    return lines


def draw(parts: Parts, outputs: Tensor, targets: Tensor, folder: Path) -> None:
    """All pictures of plots/, of the test split's outputs and targets in their order."""
    from runner.tracking.pictures import draw_pictures  # matplotlib: a quarter of a second to import

    draw_pictures(parts, outputs, targets, folder / "metrics.csv", folder / "plots")


def leave(results: Results, stop: Stop, error: BaseException | None = None) -> int:
    """Ends a run that a signal reached before there was anything to save; `error`: what came of it on its way."""
    results.end("interrupted")
    log.info("%s: stopped before the first step.", stop.requested.name if stop.requested else "", exc_info=error)
    return stop.exit_code


def report(error: BaseException, results: Results) -> int:
    """Tells what made the run fail: in results.json, on the console, and with its traceback in run.log."""
    known = isinstance(error, RunnerError)
    log.error("%s", error if known else f"{type(error).__name__}: {error}", exc_info=error)
    told = {"type": type(error).__name__, "message": str(error)}
    results.end("diverged" if isinstance(error, Diverged) else "failed", error=told)
    return error.exit_code if isinstance(error, RunnerError) else 1


def say_what_came(results: Results, folder: Path) -> None:
    """The last lines: what came of the run, where it lies, and how to go on."""
    status, folder = results.values["status"], relative(folder)
    log.info("%s in %.1f s: %s", status, results.values["seconds"]["total"], folder)
    if status == "diverged":
        return  # resumed as it is, it would diverge again
    if status in DONE:
        log.info("look     tensorboard --logdir %s", folder)
        log.info("compare  python -m runner compare %s", folder.parent)
    else:
        log.info("go on    python -m runner resume %s", folder)
