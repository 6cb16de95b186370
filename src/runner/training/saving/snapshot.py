"""Take the contents of a checkpoint from a run, and restore them. `checkpoint.Snapshot` lists the keys."""

import hashlib
import logging
from typing import Any, cast

from runner.dataset.tree import bytes_of, tensors
from runner.errors import RunnerError
from runner.machine.seeds import derive, restore_rng_state, rng_state, seed_everything
from runner.training.parts import Parts
from runner.training.saving.checkpoint import FORMAT, Snapshot
from runner.training.state import TrainState

log = logging.getLogger("runner")


def take(parts: Parts, state: TrainState, files: dict[str, int]) -> Snapshot:
    """Return everything that is needed to continue bit for bit. All ranks call it; rank 0 saves the result.

    Args:
        parts: parts of the run.
        state: state of the training loop.
        files: length of each growing file, by its path in the run folder.

    Raises:
        RunnerError: the weights or the state of the optimizer differ between the ranks.
    """
    if parts.world.is_sharded:  # each shard is seeded again; what is left is the state after the last one of this rank
        seed_everything(derive(parts.config.seed, "saved", state.step))
    rng = rng_state(parts.device)
    own = [{**shard, "rng": rng} for shard in state.shard_states()]
    ranks = parts.world.all_gather((own, digest(parts) if parts.world.size > 1 else ""))
    check_same_weights(parts, state, [found for _, found in ranks])
    contents = {
        "format": FORMAT,
        "config": parts.config.model_dump(),
        "spec": parts.spec.state_dict(),
        "data": parts.fingerprint,
        "samples": parts.samples_hash if parts.world.is_leader else None,
        **parts.state_dict(),
        **state.state_dict(),
        "shards": [shard for shards, _ in ranks for shard in shards],
        "files": files,
    }
    return cast(Snapshot, contents)  # a test checks that the keys are those of Snapshot


def digest(parts: Parts) -> str:
    """Hash the weights and the optimizer state, but not the buffers, which may differ between ranks between saves."""
    found = hashlib.sha256()

    for tensor in tensors([*parts.model.parameters(), parts.optimizer.state_dict()["state"]]):
        found.update(bytes_of(tensor))
    return found.hexdigest()[:16]


def check_same_weights(parts: Parts, state: TrainState, found: list[str]) -> None:
    """Check that all ranks have the same weights, which a fault of the hardware or of the network would change.

    Raises:
        RunnerError: the message names the ranks that differ from rank 0.
    """
    wrong = [rank for rank, digest in enumerate(found) if digest != found[0]]
    if wrong:
        names = ", ".join(f"rank {rank} ({parts.world.members[rank]})" for rank in wrong)
        raise RunnerError(
            f"step {state.step}: the weights or the optimizer state of {names} differ from those of rank 0; not saved\n"
            "ranks on different kinds of processors can cause this"
        )


def restore(parts: Parts, state: TrainState, saved: Snapshot) -> None:
    """Load a checkpoint into the parts, the state and the random number generators."""
    parts.load_state_dict(saved)
    if saved["data"] not in (None, parts.fingerprint):
        log.warning("the training data has changed since the checkpoint; the run continues with the changed data")
    state.load_state_dict(saved)
    restore_shards(parts, state, saved["shards"])


def restore_shards(parts: Parts, state: TrainState, shards: list[dict[str, Any]]) -> None:
    """Restore the metrics and the random states of the shards of this rank.

    If the number of shards has changed, which it does with the world size unless `trainer.shards` is set, rank 0 takes
    over the metrics of all shards, and the other ranks start with new seeds.
    """
    world = parts.world
    if len(shards) == world.shards:
        own = shards[world.own_shards.start : world.own_shards.stop]
        state.load_shard_states(own)
        restore_rng_state(own[0]["rng"], parts.device)
    elif world.is_leader:
        state.merge_shard_states(shards)
        restore_rng_state(shards[0]["rng"], parts.device)
    else:
        seed_everything(derive(parts.config.seed, "training", *world.salt, state.step))
