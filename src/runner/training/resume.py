"""Start a run from scratch or from a checkpoint."""

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

# Keys that a resumed run may change: the length of the training, how it is logged and where it runs.
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
    """Load the newest good checkpoint.

    Args:
        config: config of the run.
        checkpoints: checkpoints of the run.
        may_stop: whether a run that has stopped early stays stopped.

    Returns:
        The checkpoint, or None if none was ever saved; and warnings about newer, damaged ones.

    Raises:
        ConfigError: the checkpoint belongs to another run.
        CheckpointError: all checkpoints are damaged.
    """
    saved, warnings = checkpoints.load_newest("cpu")
    if saved:
        refuse_another(config, saved)
        if saved["next"] == "stop" and not may_stop:
            saved["next"] = "train"
    return saved, warnings


def refuse_another(config: Config, saved: Snapshot) -> None:
    """Check that the config differs from the checkpoint's only in keys that a resumed run may change.

    Raises:
        ConfigError: with one line for each other difference.
    """
    here, there = flatten(config.model_dump()), flatten(saved["config"])
    problems = [
        f"{key}: found {here.get(key)!r}, the run in this folder has {there.get(key)!r}; start a new run to change it"
        for key in sorted(here.keys() | there.keys())
        if not key.startswith(RESUMABLE) and here.get(key) != there.get(key)
    ]
    for key, limit, done in (
        ("trainer.epochs", config.trainer.epochs, saved["epoch"]),
        ("trainer.max_steps", config.trainer.max_steps, saved["step"]),
    ):
        if limit is not None and limit < done:
            problems.append(f"{key}: found {limit}, but the run has already trained {done}")
    if problems:
        raise ConfigError(*problems)


def assemble(config: Config, world: World, saved: Snapshot | None) -> tuple[Parts, TrainState]:
    """Build the parts and the state of a run, and load the checkpoint if there is one."""
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
    """Return the state before the first step."""
    keep, early = parts.config.trainer.checkpoint, parts.config.trainer.early_stopping
    best = Best(keep.metric, keep.mode)
    return TrainState.start(
        parts.spec.task, parts.device, best, Best(early.metric, early.mode, early.min_delta), parts.world
    )
