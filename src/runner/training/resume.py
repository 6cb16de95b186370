"""Where a run begins: its parts and its state, new ones or those of a checkpoint."""

import torch

from runner.config.schema import Config, flatten
from runner.errors import ConfigError
from runner.machine.distributed import World
from runner.training.build import build
from runner.training.checkpoint import Checkpoints, Snapshot
from runner.training.cuda_graph import record
from runner.training.parts import Parts
from runner.training.snapshot import restore
from runner.training.state import Best, TrainState

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


def load(config: Config, checkpoints: Checkpoints, may_stop: bool) -> tuple[Snapshot | None, list[str]]:
    """Return the newest good checkpoint, None where none was ever saved; and warnings about newer ones.

    Args:
        config: of the run.
        checkpoints: of its folder.
        may_stop: whether a run that was asked to stop early stays stopped.

    Raises:
        ConfigError: it is of another run.
        CheckpointError: none is good.
    """
    saved, warnings = checkpoints.load_newest("cpu")
    if saved:
        refuse_another(config, saved)
        if saved["next"] == "stop" and not may_stop:
            saved["next"] = "train"
    return saved, warnings


def refuse_another(config: Config, saved: Snapshot) -> None:
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


def assemble(config: Config, world: World, saved: Snapshot | None) -> tuple[Parts, TrainState]:
    """Return the parts and the state of a run, from the beginning or from a checkpoint."""
    if config.device.threads is not None:
        torch.set_num_threads(config.device.threads)
    parts = build(config, world)
    if config.trainer.cuda_graph:
        parts.forward = record(parts)
    state = starting_state(parts)
    if saved:
        restore(parts, state, saved)
    return parts, state


def starting_state(parts: Parts) -> TrainState:
    """The state before the first step."""
    keep, early = parts.config.trainer.checkpoint, parts.config.trainer.early_stopping
    best = Best(keep.metric, keep.mode)
    return TrainState.start(
        parts.spec.task, parts.device, best, Best(early.metric, early.mode, early.min_delta), parts.world
    )
