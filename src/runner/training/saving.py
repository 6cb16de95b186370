"""When and how the training loop saves a checkpoint."""

import torch

from runner.training.snapshot import take
from runner.training.step import diverged
from runner.training.trainer import Trainer


def save_is_due(t: Trainer, epoch_ended: bool = False) -> bool:
    """Return whether `trainer.checkpoint` asks for a checkpoint now.

    Args:
        t: run that is being trained.
        epoch_ended: whether an epoch has just ended.
    """
    settings = t.parts.config.trainer.checkpoint
    by_steps = settings.every_steps is not None and t.state.step % settings.every_steps == 0
    by_epochs = epoch_ended and settings.every_epochs is not None and t.state.epoch % settings.every_epochs == 0
    by_minutes = settings.every_minutes is not None and t.parts.world.any(
        t.clock.since_save() >= 60 * settings.every_minutes
    )
    return by_steps or by_epochs or by_minutes


def save(t: Trainer) -> None:
    """Save a checkpoint; also as best.pt if the best validation so far has no checkpoint yet.

    All ranks call this; rank 0 writes the file.

    Raises:
        Diverged: a weight is not finite; nothing is saved.
        CheckpointError: the checkpoint cannot be written.
    """
    if not torch.stack([parameter.isfinite().all() for parameter in t.parts.model.parameters()]).all():
        raise diverged(t, t.state.step, "a weight is not finite")
    t.clock.update(t.state)
    snapshot = take(t.parts, t.state, t.tracker.positions())
    if t.parts.world.leads:
        t.checkpoints.save(snapshot, best=t.improved)
        t.tracker.saved(t.state)
    t.saved_best = t.state.best.step
    t.clock.saved()
