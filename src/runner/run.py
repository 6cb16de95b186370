"""One run, from its folder to its results."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from runner.build import build
from runner.checkpoint import Checkpoints, load_checkpoint
from runner.config import freeze, read_overrides
from runner.cuda_graph import record
from runner.determinism import restore_rng_state
from runner.device import describe
from runner.environment import describe_environment
from runner.errors import ConfigError, Diverged, RunnerError
from runner.experiment import Experiment
from runner.files import write_atomically
from runner.halving import Rungs
from runner.log import logging_to
from runner.memory import keep_freed_memory
from runner.metrics import Metrics
from runner.results import DONE, Results, judge_fit
from runner.run_folder import locked
from runner.settings import Config, flatten
from runner.state import Best, TrainState
from runner.stop import Stop
from runner.summary import count_parameters, summarize
from runner.tracking import Tracker, cut_back
from runner.train import fit, predict

log = logging.getLogger("runner")

# What a resumed run may change: how long, how closely watched and where it trains, not what.
RESUMABLE = (
    *("trainer.epochs", "trainer.max_steps", "trainer.log_every", "trainer.validate_every", "trainer.eval_batch_size"),
    *(
        "trainer.early_stopping",
        "trainer.checkpoint",
        "trainer.compile",
        "trainer.cuda_graph",
        "trainer.channels_last",
        "trainer.profile",
        "device",
        "logger",
        "plugins",
    ),
    *("sweep", "dataset.in_memory", "dataset.workers", "dataset.root", "dataset.path", "name", "output_dir"),
)


def run(
    config: Config,
    folder: Path,
    overrides: list[str],
    resume: bool = False,
    swept: Mapping[str, Any] | None = None,
) -> int:
    """Trains in `folder`, tests the best checkpoint, and leaves the whole story there; returns the exit code.

    Args:
        overrides: as typed; for a resumed run, those that are new.
        swept: in a sweep, the keys that it is over, with this run's values: what HPARAMS shows of it.

    Raises:
        ConfigError: another process works in the folder, or its checkpoint is of another run.
        CheckpointError: it has checkpoints, and none is good. In all these cases nothing was touched.
    """
    checkpoints = Checkpoints(folder / "checkpoints", config.trainer.checkpoint.keep_last)
    with locked(folder):
        saved, warnings = checkpoints.load_newest("cpu") if resume else (None, [])
        if saved:
            refuse_another(config, saved)
            saved["behind"] = saved["behind"] and not overrides
        rungs = None if resume and overrides else Rungs.of(config, folder)  # who asks for more epochs gets them
        if resume:
            overrides = read_overrides(folder / "overrides.yaml") + overrides
        with logging_to(folder / "run.log"):
            results = Results.open(folder, config.name, config.seed, overrides)
            with Stop() as stop:
                try:
                    try:
                        for warning in warnings:
                            log.warning(warning)
                        prepare(config, folder, saved, results, resume)
                        exit_code = train_and_test(config, folder, checkpoints, saved, results, stop, swept, rungs)
                    except (Exception, SystemExit) as error:
                        exit_code = leave(results, stop, error) if stop.cut_short else report(error, results)
                except KeyboardInterrupt:
                    exit_code = leave(results, stop)
                say_what_came(results, folder)
                return exit_code


def prepare(config: Config, folder: Path, saved: dict[str, Any] | None, results: Results, resume: bool) -> None:
    """Writes down what will run, and takes away what a resumed run wrote after its checkpoint."""
    if resume:
        cut_back(folder, saved["files"] if saved else {})
    write_atomically(folder / "config.yaml", freeze(config))
    write_atomically(folder / "overrides.yaml", freeze(results.values["overrides"]))
    count = results.values["resumed"] + resume
    results.update(status="running", error=None, finished=None, test={}, fit="unknown", resumed=count)


def train_and_test(
    config: Config,
    folder: Path,
    checkpoints: Checkpoints,
    saved: dict[str, Any] | None,
    results: Results,
    stop: Stop,
    swept: Mapping[str, Any] | None,
    rungs: Rungs | None,
) -> int:
    """The steps of a run, from the beginning or from what was saved. Returns the exit code; raises what goes wrong."""
    if config.device.threads is not None:
        torch.set_num_threads(config.device.threads)
    exp = build(config)
    if config.trainer.cuda_graph:
        exp.forward = record(exp)
    keep_freed_memory()
    exp.rungs = rungs
    state = starting_state(exp)
    if saved:
        exp.load_state_dict(saved)
        state.load_state_dict(saved)
        restore_rng_state(saved["rng"], exp.device)
    announce(exp, state, folder)

    tracker = Tracker(folder, exp, results)
    try:
        if not saved:
            describe_run(exp, folder, tracker, swept)
        results.update(parameters=count_parameters(exp.model))
        stop.can_wait = True
        fit(exp, state, tracker, checkpoints, stop)
        if not stop.requested:
            test_best(exp, state, checkpoints, tracker, results, folder, stop)
    finally:
        tracker.close()
    results.progress(state, exp)
    if stop.requested:
        results.end("interrupted")
        log.info("%s: stopped and saved at step %d.", stop.requested.name, state.step)
        return stop.exit_code
    fit_is = judge_fit(exp.spec.task, state.train, state.val)
    results.end("stopped early" if state.behind else "completed", fit=fit_is)
    return 0


def refuse_another(config: Config, saved: dict[str, Any]) -> None:
    """Raises ConfigError, with each difference, when a checkpoint is of a run with other parts, data or seed."""
    here, there = flatten(config.model_dump()), flatten(saved["config"])
    problems = [
        f"{key}: found {here.get(key)!r}, the run in this folder has {there.get(key)!r}; start a new run for it"
        for key in sorted(here.keys() | there.keys())
        if not key.startswith(RESUMABLE) and here.get(key) != there.get(key)
    ]
    for key, limit, done in (
        ("trainer.epochs", config.trainer.epochs, saved["epoch"]),
        ("trainer.max_steps", config.trainer.max_steps, saved["step"]),
    ):
        if limit is not None and limit < done:
            problems.append(f"{key}: found {limit}, but {done} are trained already")
    if problems:
        raise ConfigError(*problems)


def starting_state(exp: Experiment) -> TrainState:
    """The state before the first step."""
    keep, early = exp.config.trainer.checkpoint, exp.config.trainer.early_stopping
    best = Best(keep.metric, keep.mode)
    return TrainState.start(exp.spec.task, exp.device, best, Best(early.metric, early.mode, early.min_delta))


def announce(exp: Experiment, state: TrainState, folder: Path) -> None:
    """What a person wants to know before the training starts."""
    config, (train, val, test) = exp.config, (len(batches.source) for batches in (exp.train, exp.val, exp.test))
    parameters, samples = count_parameters(exp.model), config.trainer.batch_size * config.trainer.accumulate
    typed = read_overrides(folder / "overrides.yaml")
    lines = [
        f"folder   {folder}",
        *([f"config   {' '.join(typed)}"] if typed else []),
        f"model    {config.model.name}, {parameters:,} parameters, on {describe(exp.device)}",
        f"data     {config.dataset.name}, {train:,} training, {val:,} validation, {test:,} test samples",
        f"train    {config.loss.name}, {config.optim.name}, {exp.total_steps:,} steps of {samples:,} samples",
    ]
    for group in exp.optimizer.param_groups if config.optim.groups else []:
        own = " ".join(f"{key} {group[key]}" for key in own_keys(config))
        lines.append(f"group    {own}: {', '.join(names_of(exp, group['params']))}")
    if state.step:
        lines.append(f"resumed  after step {state.step:,}, epoch {state.epoch}")
    for line in lines:
        log.info(line)


def own_keys(config: Config) -> list[str]:
    """The learning rate, and what else some of optim.groups set."""
    return list(dict.fromkeys(["lr", *(key for group in config.optim.groups for key in group if key != "match")]))


def names_of(exp: Experiment, parameters: list[Tensor]) -> list[str]:
    """The names of parameters in the model."""
    return [name for name, parameter in exp.model.named_parameters() if any(parameter is p for p in parameters)]


def describe_run(exp: Experiment, folder: Path, tracker: Tracker, swept: Mapping[str, Any] | None) -> None:
    """Writes down what the run is: model, environment, and in TensorBoard config and hyperparameters."""
    model = summarize(exp.model, exp.spec.in_shape)
    environment = describe_environment(describe(exp.device))
    write_atomically(folder / "model.txt", model)
    write_atomically(folder / "environment.json", json.dumps(environment, indent=2) + "\n")
    everything = flatten(exp.config.model_dump(exclude={"output_dir", "dry_run", "plugins", "sweep"}))
    tracker.describe({"model": model, "config": (folder / "config.yaml").read_text("utf-8")}, swept or everything)


def test_best(
    exp: Experiment,
    state: TrainState,
    checkpoints: Checkpoints,
    tracker: Tracker,
    results: Results,
    folder: Path,
    stop: Stop,
) -> None:
    """The best checkpoint on the test split: metrics, and pictures of what it gets right and wrong."""
    exp.load_weights(load_checkpoint(checkpoints.best if checkpoints.best.exists() else checkpoints.last, exp.device))
    metrics, parts = Metrics(exp.spec.task, exp.device), []
    for outputs, targets, loss in predict(exp, exp.test):
        metrics.update(loss, outputs, targets)
        parts.append((outputs.cpu(), targets.cpu()))
        if stop.requested:
            return
    test = metrics.compute()
    results.update(test=test)
    tracker.scalars({f"test/{name}": value for name, value in test.items()}, results.values["step"])
    numbers = "  ".join(f"{name} {value:.4g}" for name, value in test.items())
    log.info("test     best checkpoint, of epoch %d: %s", state.best.epoch, numbers)
    all_outputs, all_targets = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    for line in details(exp, state, all_outputs, all_targets):
        log.info(line)
    tracker.weights(results.values["step"])
    try:
        draw(exp, all_outputs, all_targets, folder)
        tracker.pictures(results.values["step"])
    except Exception:  # a picture is not worth a run
        log.warning("The plots could not be drawn.", exc_info=True)


def details(exp: Experiment, state: TrainState, outputs: Tensor, targets: Tensor) -> list[str]:
    """What the numbers alone do not tell: cost of a step, recall of each class, small models' weights."""
    waiting = state.data_seconds / max(state.seconds, 1e-9)
    lines = [
        f"speed    {1e6 * state.seconds / max(state.step, 1):,.0f} microseconds a step, with validation and saving; "
        f"{waiting:.1%} of the time waiting for data"
    ]
    if waiting > 0.2 and not exp.config.dataset.in_memory:
        lines.append("hint     more dataset.workers read faster; device.threads=1 leaves them the other cores")
    if exp.spec.task == "classification" and len(exp.spec.classes) <= 20:
        right = torch.bincount(targets[outputs.argmax(1) == targets], minlength=len(exp.spec.classes))
        recall = right / torch.bincount(targets, minlength=len(exp.spec.classes)).clamp(min=1)
        lines.append(
            "recall   " + "  ".join(f"{name} {r:.2f}" for name, r in zip(exp.spec.classes, recall, strict=True))
        )
    if count_parameters(exp.model) <= 16:
        for name, parameter in exp.judged.named_parameters():
            lines.append(f"learned  {name} = {', '.join(f'{value:.4f}' for value in parameter.flatten().tolist())}")
    return lines


def draw(exp: Experiment, outputs: Tensor, targets: Tensor, folder: Path) -> None:
    """All pictures of plots/, of the test split's outputs and targets in their order."""
    from runner.pictures import draw_pictures  # matplotlib: a quarter of a second to import

    draw_pictures(exp, outputs, targets, folder / "metrics.csv", folder / "plots")


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
    status = results.values["status"]
    log.info("%s in %.1f s: %s", status, results.values["seconds"]["total"], folder)
    if status == "diverged":
        return  # resumed as it is, it would diverge again
    if status in DONE:
        log.info("look     tensorboard --logdir %s", folder)
        log.info("compare  python -m runner compare %s", folder.parent)
    else:
        log.info("go on    python -m runner resume %s", folder)
