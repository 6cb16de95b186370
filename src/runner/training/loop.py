"""The training loop.

    fit            train, validate and save until the run is finished
    train_epoch    forward, loss, backward, step, zero_grad
    after_step     step the scheduler, update the averaged weights, log, validate and save, whichever is due

`fit` may be left after any step and called again with the same state: every decision depends only on the state and the
config.
"""

from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from runner.training.evaluate import validate
from runner.training.saving import save, save_is_due
from runner.training.state import Next
from runner.training.step import backward, optimizer_step, prepare_gradients
from runner.training.trainer import Trainer


def fit(t: Trainer) -> None:
    """Train until the run is finished or a stop is requested, and save in either case.

    Raises:
        Diverged: the loss, the gradient or a weight is not finite; the checkpoints are from earlier steps.
        CheckpointError: a checkpoint cannot be written.
    """
    while not (t.finished or t.stop.requested):
        if t.state.next == "train":
            train_epoch(t)
        elif t.state.next == "validate":
            validate(t)
        else:
            end_epoch(t)
    if t.stop.requested:
        save(t)


def train_epoch(t: Trainer) -> None:
    """Train from the current position to the end of the epoch; return early if the run stops before that."""
    model, loss_fn, optimizer = t.parts.forward, t.parts.loss, t.parts.optimizer
    t.parts.model.train()
    for micro_batches in t.steps():
        for inputs, targets in micro_batches:
            with t.parts.autocast():
                outputs = model(inputs)
                loss = loss_fn(outputs, targets)
            backward(t, loss, outputs, targets)  # loss.backward(), weighted by the micro-batch's share of the step
        grad_norm = prepare_gradients(t)  # sum over processes, check for NaN and infinity, clip
        optimizer_step(t, micro_batches)  # optimizer.step()
        optimizer.zero_grad()
        after_step(t, grad_norm)
        if t.state.next != "train" or t.stop.requested:
            return


def after_step(t: Trainer, grad_norm: Tensor | None) -> None:
    """Advance the state; then step the scheduler, log, validate and save, whichever is due."""
    parts, state = t.parts, t.state
    if parts.ema is not None:
        parts.ema.update(parts.model)
    log_is_due = t.log_is_due
    state.step += 1
    state.position += 1
    state.lr = parts.optimizer.param_groups[0]["lr"]
    if parts.config.scheduler.interval == "step":
        parts.scheduler.step()
    state.next = what_follows(t)
    t.stop.agree()
    if log_is_due and grad_norm is not None:
        log_window(t, grad_norm)
    t.tracker.progress(state.step)
    if t.epoch_is_over or t.stop.requested:
        return  # `fit` ends the epoch, or saves and stops
    if state.next == "validate":
        validate(t)
        parts.model.train()
    elif save_is_due(t):
        save(t)


def what_follows(t: Trainer) -> Next:
    """Return what to do after the step that has just been made."""
    every, unit = t.validation_period
    by_step = unit == "step" and t.state.step % every == 0
    by_epoch = unit == "epoch" and t.epoch_is_over and (t.state.epoch + 1) % every == 0
    if by_step or by_epoch or t.state.step == t.parts.total_steps:
        return "validate"
    return "end epoch" if t.epoch_is_over else "train"


def log_window(t: Trainer, grad_norm: Tensor) -> None:
    """Log the training metrics since the last log, the gradient norm and the learning rate."""
    state = t.state
    state.merge_recent()
    scalars = {f"train/{name}": value for name, value in state.window.compute().items()}
    scalars |= {"train/grad_norm": grad_norm.item(), "lr": state.lr}
    t.tracker.scalars(scalars, state.step)
    state.window.reset()


def end_epoch(t: Trainer) -> None:
    """Record the epoch, move on to the next one, and save if a checkpoint is due."""
    parts, state = t.parts, t.state
    state.merge_recent()
    state.train = state.sums.compute()
    t.clock.update(state)
    row: dict[str, float] = {"epoch": state.epoch + 1, "step": state.step}
    row |= {f"train/{name}": value for name, value in state.train.items()}
    if val_belongs_to_row(t):
        row |= {f"val/{name}": value for name, value in state.val.items()}
    row |= {"lr": state.lr, "seconds": state.epoch_seconds}
    if state.position == parts.steps_per_epoch:  # max_steps may end a run within an epoch
        if parts.config.scheduler.interval == "epoch" and not isinstance(parts.scheduler, ReduceLROnPlateau):
            parts.scheduler.step()
        state.start_epoch()
    state.next = "train"
    t.tracker.epoch(row, state)
    if not t.finished and t.is_to_stop:
        state.next = "stop"
    if t.improved or t.finished or save_is_due(t, epoch_ended=True):
        save(t)


def val_belongs_to_row(t: Trainer) -> bool:
    """Return whether the last validation belongs in the row of the epoch that ends.

    It does if it was made after the last step, or after a step of the epoch at which a validation was due. A validation
    within the epoch at which the run once ended does not count after the run has been extended.
    """
    state, (every, unit) = t.state, t.validation_period
    in_epoch = state.validated > state.step - state.position
    return state.validated == state.step or (unit == "step" and in_epoch and state.validated % every == 0)
