"""Take the contents of a checkpoint from a run, and restore them. `checkpoint.Snapshot` lists the keys."""

import logging
from typing import cast

from runner.machine.seeds import derive, restore_rng_state, rng_state, seed_everything
from runner.training.checkpoint import FORMAT, Snapshot
from runner.training.parts import Parts
from runner.training.state import OWN, TrainState

log = logging.getLogger("runner")


def take(parts: Parts, state: TrainState, files: dict[str, int]) -> Snapshot:
    """Return everything that is needed to continue bit for bit. All ranks call it; rank 0 saves the result.

    Args:
        parts: parts of the run.
        state: state of the training loop.
        files: length of each growing file, by its path in the run folder.
    """
    now = {**state.state_dict(), "rng": rng_state(parts.device)}
    others = parts.world.gather({key: now[key] for key in (*OWN, "rng")})
    contents = {
        "format": FORMAT,
        "config": parts.config.model_dump(),
        "spec": parts.spec.state_dict(),
        "data": parts.data,
        **parts.state_dict(),
        **now,
        "others": others,
        "files": files,
    }
    return cast(Snapshot, contents)  # a test checks that the keys are those of Snapshot


def restore(parts: Parts, state: TrainState, saved: Snapshot) -> None:
    """Load a checkpoint into the parts, the state and the random number generators."""
    parts.load_state_dict(saved)
    if saved["data"] not in (None, parts.data):
        log.warning("the training data has changed since the checkpoint; the run continues with the changed data")
    restore_process(parts, state, saved)


def restore_process(parts: Parts, state: TrainState, saved: Snapshot) -> None:
    """Restore the state, including the metrics and random states that differ between ranks.

    If the world size has changed, rank 0 takes over the metrics of all ranks, and the others start with new seeds.
    """
    world, others = parts.world, saved["others"]
    if len(others) == world.size - 1:
        own = {**saved, **[saved, *others][world.rank]}
        state.load_state_dict(own)
        restore_rng_state(own["rng"], parts.device)
        return
    state.load_state_dict(saved)
    if world.leads:
        restore_rng_state(saved["rng"], parts.device)
        for other in others:
            state.add_sums(other)
    else:
        seed_everything(derive(parts.config.seed, "training", *world.salt, state.step))
        state.reset_sums()
