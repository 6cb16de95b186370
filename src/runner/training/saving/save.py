"""When and how the training loop saves a checkpoint."""

from copy import deepcopy

from runner.training.finite import are_finite
from runner.training.saving.snapshot import take
from runner.training.step import diverged, stop_if_a_step_diverged
from runner.training.trainer import Trainer


def save_is_due(trainer: Trainer, epoch_ended: bool = False) -> bool:
    """Return whether `trainer.checkpoint` asks for a checkpoint now.

    Args:
        trainer: run that is being trained.
        epoch_ended: whether an epoch has just ended.
    """
    settings = trainer.parts.config.trainer.checkpoint
    by_steps = settings.every_steps is not None and trainer.state.step % settings.every_steps == 0
    by_epochs = epoch_ended and settings.every_epochs is not None and trainer.state.epoch % settings.every_epochs == 0
    return by_steps or by_epochs or trainer.timed_save_is_due


def save(trainer: Trainer) -> None:
    """Start to save a checkpoint; also as best.pt if the best validation so far has no checkpoint yet.

    All ranks call this; rank 0 writes the file, in the background.

    Raises:
        Diverged: a weight is not finite, or the loss or gradient of a step was not; nothing is saved.
        CheckpointError: the previous checkpoint could not be saved.
    """
    stop_if_a_step_diverged(trainer)
    weights = [
        each.detach() for each in trainer.parts.model.parameters() if each.is_floating_point() or each.is_complex()
    ]
    if not are_finite(weights):
        raise diverged(trainer, trainer.state.step, "a weight is not finite")
    trainer.clock.update(trainer.state)
    snapshot = take(trainer.parts, trainer.state, trainer.tracker.positions())
    if trainer.parts.world.is_leader:
        trainer.saver.start(deepcopy(snapshot), best=trainer.best_is_unsaved)  # training changes the tensors in place
        trainer.tracker.saved(trainer.state)
    trainer.saved_best = trainer.state.best.step
    trainer.clock.saved()
    trainer.timed_save_is_due = False
