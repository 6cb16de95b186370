"""Log messages of a run: at its start, about its results, and at its end."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from runner.config.compose import read_overrides
from runner.config.schema import Config
from runner.machine.device import describe
from runner.tracking.console import relative
from runner.tracking.results import DONE, Results
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
        own = " ".join(f"{key} {group[key]}" for key in own_keys(config))
        lines.append(f"group    {own}: {', '.join(names_of(parts, group['params']))}")
    if state.step:
        lines.append(f"resumed  after step {state.step:,}, epoch {state.epoch}")
    for line in lines:
        log.info(line)


def own_keys(config: Config) -> list[str]:
    """Return the keys set in optim.groups, the learning rate first."""
    return list(dict.fromkeys(["lr", *(key for group in config.optim.groups for key in group if key != "match")]))


def names_of(parts: Parts, parameters: list[Tensor]) -> list[str]:
    """Return the names of some parameters of the model."""
    return [name for name, parameter in parts.model.named_parameters() if any(parameter is p for p in parameters)]


def details(parts: Parts, state: TrainState, outputs: Tensor, targets: Tensor) -> list[str]:
    """Return lines about the speed, the recall per class, and the weights of tiny models.

    Args:
        parts: parts of the run.
        state: state after training.
        outputs: outputs for the test split.
        targets: targets of the test split.
    """
    waiting = state.data_seconds / max(state.seconds, 1e-9)
    lines = [
        f"speed    {1e6 * state.seconds / max(state.step, 1):,.0f} microseconds per step, with validation and saving",
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
    """Return whether the load average of the last minute is well above the number of cores."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > 1.25 * (os.cpu_count() or 1)


def packed(head: str, parts: Sequence[str], width: int = 80) -> list[str]:
    """Wrap parts into lines of at most `width` characters, aligned after `head`."""
    lines = [head + parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + 2 + len(part) <= width:
            lines[-1] += f"  {part}"
        else:
            lines.append(" " * len(head) + part)
    return lines


def log_outcome(results: Results, folder: Path) -> None:
    """Log the status, the folder, and the commands to use next."""
    status, folder = results.values["status"], relative(folder)
    log.info("%s in %.1f s: %s", status, results.values["seconds"]["total"], folder)
    if status == "diverged":
        return  # a resume without changes would diverge again
    if status in DONE:
        log.info("look     tensorboard --logdir %s", folder)
        log.info("compare  python -m runner compare %s", folder.parent)
    else:
        log.info("resume   python -m runner resume %s", folder)
