"""Log messages of a run: at its start, about its results, and at its end."""

import logging
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from runner.config.frozen import read_overrides
from runner.config.schema import Config
from runner.machine.device import describe
from runner.tracking.console import in_shell, pack, relative
from runner.tracking.events import logged
from runner.tracking.results import DONE, Results, outcome
from runner.tracking.summary import count_parameters
from runner.training.parts import Parts
from runner.training.state import TrainState
from runner.training.trainer import Trainer

log = logging.getLogger("runner")


def announce(trainer: Trainer, folder: Path) -> None:
    """Log the folder, the overrides, and the main parts of the run."""
    parts, state = trainer.parts, trainer.state
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
        own = " ".join(f"{key} {group[key]}" for key in own_keys(config) if key in group)
        lines.append(f"group    {own}: {', '.join(names_of(parts, group['params']))}")
    if state.step:
        lines.append(f"resumed  after step {state.step:,}, epoch {state.epoch}")
    if parts.device.type == "cpu" and torch.get_num_threads() > 1 and is_overloaded():
        lines.append("hint     other programs use all cores: device.threads=1 may be much faster")
    start = logged("started", **facts_of(trainer, folder), overrides=typed, parameters=parameters)
    log.info(lines[0], extra=start)
    for line in lines[1:]:
        log.info(line)


def facts_of(trainer: Trainer, folder: Path) -> dict[str, Any]:
    """Return what a program may want to know at the start of a run."""
    parts, state = trainer.parts, trainer.state
    samples = {name: len(getattr(parts, name).source) for name in ("train", "val", "test")}
    return {
        "folder": str(folder),
        "name": parts.config.name,
        "device": str(parts.device),
        "processes": parts.world.size,
        "samples": samples,
        "epoch": state.epoch,
        "step": state.step,
        "steps": parts.total_steps,
    }


def own_keys(config: Config) -> list[str]:
    """Return the keys set in optim.groups, the learning rate first."""
    return list(dict.fromkeys(["lr", *(key for group in config.optim.groups for key in group if key != "match")]))


def names_of(parts: Parts, parameters: list[Tensor]) -> list[str]:
    """Return the names of some parameters of the model."""
    return [name for name, parameter in parts.model.named_parameters() if any(parameter is p for p in parameters)]


def details(parts: Parts, state: TrainState, outputs: Any, targets: Any) -> list[str]:
    """Return lines about the speed, the recall per class, and the weights of tiny models.

    Args:
        parts: parts of the run.
        state: state after training.
        outputs: outputs for the test split; None: they were too many to keep.
        targets: targets of the test split.
    """
    waiting = state.data_seconds / max(state.seconds, 1e-9)
    lines = [
        f"speed    {1e6 * state.seconds / max(state.step, 1):,.0f} microseconds per step, with validation and saving",
        f"waiting  {waiting:.1%} of the time for data",
    ]
    if waiting > 0.2 and (not parts.config.dataset.in_memory or parts.config.dataset.transforms):
        lines.append("hint     set more dataset.workers to load faster; device.threads=1 leaves them the other cores")
    if outputs is not None and 0 < len(parts.spec.classes) <= 20:
        for name, values in parts.task.per_class(outputs, targets).items():
            pairs = zip(parts.spec.classes, values.tolist(), strict=True)
            lines += pack(f"{name:<9}", [f"{each} {value:.2f}" for each, value in pairs])
    if count_parameters(parts.model) <= 16:
        for name, parameter in parts.eval_model.named_parameters():
            lines.append(f"learned  {name} = {', '.join(f'{value:.4f}' for value in parameter.flatten().tolist())}")
    return lines


def is_overloaded() -> bool:
    """Return whether the load average of the last minute is well above the number of cores."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > 1.25 * (os.cpu_count() or 1)


def log_outcome(results: Results, folder: Path, exit_code: int) -> None:
    """Log the status, the folder, and the commands to use next."""
    end = logged("ended", **outcome(results.values, folder, exit_code))
    status = results.values["status"]
    log.info("%s in %.1f s: %s", status, results.values["seconds"]["total"], relative(folder), extra=end)
    if status == "diverged":  # a resume without changes would diverge again
        if (last := folder / "checkpoints" / "last.pt").exists():
            log.info("restart  add init.from=%s and a lower optim.lr to the command", in_shell(last))
    elif status in DONE:
        log.info("look     tensorboard --logdir %s", in_shell(folder))
        log.info("compare  python -m runner compare %s", in_shell(folder.parent))
    else:
        log.info("resume   python -m runner resume %s", in_shell(folder))
