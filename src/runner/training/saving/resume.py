"""Start a run from scratch or from a checkpoint."""

import torch

from runner.config.schema import Config, flatten
from runner.errors import ConfigError
from runner.machine.distributed import World
from runner.training.cuda_graph import check_capturable
from runner.training.parts import Parts
from runner.training.saving.checkpoint import Checkpoints, Snapshot
from runner.training.saving.snapshot import digest, restore
from runner.training.setup.build import build
from runner.training.state import Best, TrainState

# Keys that a resumed run may change: the length of the training, how it is logged and where it runs.
RESUMABLE = (
    "trainer.epochs",
    "trainer.max_steps",
    "trainer.max_minutes",
    "trainer.log_every",
    "trainer.validate_every",
    "trainer.eval_batch_size",
    "trainer.early_stopping",
    "trainer.checkpoint",
    "trainer.compile",
    "trainer.cuda_graph",
    "trainer.channels_last",
    "trainer.profile",
    "device",
    "logger",
    "plugins",
    "sweep",
    "dataset.in_memory",
    "dataset.workers",
    "dataset.root",
    "dataset.path",
    "dataset.cache",
    "name",
    "output_dir",
)

# Keys that say where a run is and how it is started, not what it computes or records.
LOCATION = ("name", "output_dir", "dry_run", "plugins", "sweep.", "dataset.root", "dataset.path", "dataset.workers")


def load(config: Config, checkpoints: Checkpoints, may_stop: bool) -> tuple[Snapshot | None, list[str]]:
    """Load the newest good checkpoint. Only rank 0 does, so that all ranks start from the same one.

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
        check_same_run(config, saved)
        checkpoints.restore_best(saved["best"]["step"])
        if saved["next"] in ("decide", "stop") and not may_stop:
            saved["next"] = "train"
        limit = config.trainer.max_minutes
        saved["timed_out"] = limit is not None and saved["seconds"] >= 60 * limit
    return saved, warnings


def check_same_run(config: Config, saved: Snapshot) -> None:
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


def changes(earlier: list[int], saved: Snapshot | None, config: Config) -> list[int]:
    """Return the steps after which a run was resumed with a config that changes what it trains or records.

    Args:
        earlier: those of earlier resumes.
        saved: checkpoint to continue from; None: the run starts from scratch.
        config: config of the run.
    """
    if saved is None:
        return []
    here, there = flatten(config.model_dump()), flatten(saved["config"])
    differs = any(here.get(key) != there.get(key) for key in here.keys() | there.keys() if not key.startswith(LOCATION))
    return [step for step in earlier if step < saved["step"]] + ([saved["step"]] if differs else [])


def assemble(config: Config, world: World, saved: Snapshot | None) -> tuple[Parts, TrainState]:
    """Build the parts and the state of a run, and load the checkpoint if there is one.

    Raises:
        ConfigError: the ranks start from different steps or weights.
    """
    world.shards, world.is_sharded = max(config.trainer.shards, world.size), config.trainer.shards > 1
    if config.device.threads is not None:
        torch.set_num_threads(config.device.threads)
    parts = build(config, world, starts=saved is None)
    if config.trainer.cuda_graph:
        check_capturable(parts)
    state = starting_state(parts)
    if saved:
        restore(parts, state, saved)
    if world.size > 1:
        world.check_ranks_agree({"starting step": state.step, "hash of the weights": digest(parts)})
    return parts, state


def starting_state(parts: Parts) -> TrainState:
    """Return the state before the first step."""
    keep, early = parts.config.trainer.checkpoint, parts.config.trainer.early_stopping
    best = Best(keep.metric, keep.mode)
    return TrainState.start(
        parts.metric_set, parts.device, best, Best(early.metric, early.mode, early.min_delta), parts.world
    )
