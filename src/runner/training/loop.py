"""The training loop.

    fit            train, validate and save until the run is finished
    train_epoch    forward, loss, backward, step, zero_grad
    replay_epoch   the same with a CUDA graph
    after_step     step the scheduler, log, validate and save, whichever is due
    decide         in a sweep, stop early or continue

`fit` may be left after any step and called again with the same state: every decision depends only on the state and the
config.
"""

import time
from collections.abc import Callable
from functools import partial

from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from runner.training.cuda_graph import WholeStep
from runner.training.evaluate import validate
from runner.training.saving.save import save, save_is_due
from runner.training.state import Next
from runner.training.step import (
    backward,
    optimizer_step,
    prepare_gradients,
    stop_if_a_rank_diverged,
    stop_if_a_step_diverged,
)
from runner.training.trainer import Trainer

PAUSE = 0.1  # seconds between two calls of `should_stop` while it has no answer yet


def fit(trainer: Trainer) -> None:
    """Train until the run is finished or a stop is requested, and save in either case.

    Raises:
        Diverged: the loss, the gradient or a weight is not finite; the checkpoints are from earlier steps.
        CheckpointError: a checkpoint cannot be written.
    """
    train = train_function(trainer)
    try:
        while not (trainer.finished or trainer.stop.requested):
            if trainer.state.next == "train":
                train()
            elif trainer.state.next == "validate":
                validate(trainer)
            elif trainer.state.next == "end epoch":
                end_epoch(trainer)
            else:
                decide(trainer)
        if trainer.stop.requested:
            save(trainer)
    finally:
        trainer.saver.close()


def train_epoch(trainer: Trainer) -> None:
    """Train from the current position to the end of the epoch; return early if the run stops before that."""
    parts = trainer.parts
    task, model, loss_fn, optimizer = parts.task, parts.forward, parts.loss, parts.optimizer
    parts.model.train()
    for step in trainer.steps():
        for inputs, targets in step:  # one micro-batch, unless gradients are accumulated
            with parts.autocast():
                outputs = task.forward(model, inputs)  # model(inputs)
                loss = task.loss(loss_fn, outputs, targets, inputs)  # loss_fn(outputs, targets)
            backward(trainer, loss, outputs, targets)  # loss.backward(), times the micro-batch's share of the step
        grad_norm = prepare_gradients(trainer)  # combine those of all ranks, check for NaN and infinity, clip
        optimizer_step(trainer, step)  # optimizer.step()
        optimizer.zero_grad()
        after_step(trainer, grad_norm)
        if trainer.state.next != "train" or trainer.stop.requested:
            return


def train_function(trainer: Trainer) -> Callable[[], None]:
    """Return the function that trains to the end of an epoch: `train_epoch`, or with a CUDA graph `replay_epoch`."""
    if trainer.parts.config.trainer.cuda_graph:
        return partial(replay_epoch, trainer, WholeStep(trainer))
    return partial(train_epoch, trainer)


def replay_epoch(trainer: Trainer, make_step: WholeStep) -> None:
    """Train as `train_epoch` does, with a CUDA graph for all steps but a last one that has fewer samples."""
    trainer.parts.model.train()
    while make_step.has_next:
        if not trainer.goes_on():
            return
        after_step(trainer, make_step())
        if trainer.state.next != "train" or trainer.stop.requested:
            return
    train_epoch(trainer)


def after_step(trainer: Trainer, grad_norm: Tensor | None) -> None:
    """Advance the state; then step the scheduler, log, validate and save, whichever is due."""
    parts, state = trainer.parts, trainer.state
    trainer.saver.check()
    log_is_due = trainer.log_is_due
    state.step += 1
    state.position += 1
    state.lr = parts.optimizer.param_groups[0]["lr"]
    if parts.config.scheduler.interval == "step":
        parts.scheduler.step()
    if what_follows(trainer) != "train" or save_is_due(trainer):
        stop_if_a_rank_diverged(trainer)
        stop_if_a_step_diverged(trainer)
    state.next = what_follows(trainer)
    if log_is_due and grad_norm is not None:
        log_window(trainer, grad_norm)
    trainer.tracker.progress(state.step)
    if trainer.epoch_is_over or trainer.stop.requested:
        return  # `fit` ends the epoch, or saves and stops
    if state.next == "validate":
        validate(trainer)
        parts.model.train()
    elif save_is_due(trainer):
        save(trainer)


def what_follows(trainer: Trainer) -> Next:
    """Return what to do after the step that has just been made."""
    every, unit = trainer.validation_period
    by_step = unit == "step" and trainer.state.step % every == 0
    by_epoch = unit == "epoch" and trainer.epoch_is_over and (trainer.state.epoch + 1) % every == 0
    if by_step or by_epoch or trainer.is_last_step:
        return "validate"
    return "end epoch" if trainer.epoch_is_over else "train"


def log_window(trainer: Trainer, grad_norm: Tensor) -> None:
    """Log the training metrics since the last log, the gradient norm and the learning rate."""
    state = trainer.state
    state.merge_recent()
    watched = [] if trainer.watch is None else [trainer.watch.bad_steps]
    metrics, (norm, *bad_steps) = state.window.read(grad_norm, *watched)  # all at once: reading waits for the device
    if bad_steps:
        stop_if_a_step_diverged(trainer, bad_steps[0])
    scalars = {f"train/{name}": value for name, value in metrics.items()}
    scalars |= {"train/grad_norm": norm, "lr": state.lr}
    trainer.tracker.scalars(scalars, state.step)
    state.window.reset()


def end_epoch(trainer: Trainer) -> None:
    """Record the epoch, move on to the next one, and save if a checkpoint is due."""
    parts, state = trainer.parts, trainer.state
    state.merge_recent()
    state.train = state.sums.compute()
    trainer.clock.update(state)
    row: dict[str, float] = {"epoch": state.epoch + 1, "step": state.step}
    row |= {f"train/{name}": value for name, value in state.train.items()}
    if val_belongs_to_row(trainer):
        row |= {f"val/{name}": value for name, value in state.val.items()}
    row |= {"lr": state.lr, "seconds": state.epoch_seconds}
    if state.position == parts.steps_per_epoch:  # max_steps and max_minutes may end a run within an epoch
        if parts.config.scheduler.interval == "epoch" and not isinstance(parts.scheduler, ReduceLROnPlateau):
            parts.scheduler.step()
        state.start_epoch()
    state.next = "train"
    trainer.tracker.epoch(row, state)
    if trainer.should_stop is not None and not trainer.finished:
        state.next = "decide"  # saved as well, so that a run that ends before the decision takes it when it is resumed
    if trainer.best_is_unsaved or trainer.finished or save_is_due(trainer, epoch_ended=True):
        save(trainer)


def decide(trainer: Trainer) -> None:
    """Stop early or continue, as `should_stop` decides. If it cannot tell yet, pause, and `fit` asks again."""
    answer = trainer.agree_on_stop()
    if answer is None:
        time.sleep(PAUSE)
        trainer.clock.skip()
        return
    trainer.state.next = "stop" if answer else "train"
    if answer:
        save(trainer)


def val_belongs_to_row(trainer: Trainer) -> bool:
    """Return whether the last validation belongs in the row of the epoch that ends.

    It does if it was made after the last step, or if `validate_every` counts steps and one was due in this epoch. The
    validation at the end of a shorter run does not count once the run is extended, as if it had never been shorter.
    """
    state, (every, unit) = trainer.state, trainer.validation_period
    in_epoch = state.validated > state.step - state.position
    return state.validated == state.step or (unit == "step" and in_epoch and state.validated % every == 0)
