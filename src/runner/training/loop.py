"""The training loop.

    fit            epochs, validation, checkpoints, early stopping
    train_epoch    batches: forward, loss, backward, step
    evaluate       the metrics of a split, without training

`fit` may be left at any step and entered again with the same state: everything that it decides, it decides from
`TrainState` and the config.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from functools import cache, partial
from itertools import zip_longest

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from runner.data.batches import Batches
from runner.errors import Diverged
from runner.machine.signals import Stop
from runner.optim.closure import needs_closure
from runner.tracking.tracker import Tracker
from runner.training.checkpoint import Checkpoints
from runner.training.metrics import Metrics
from runner.training.parts import Parts
from runner.training.snapshot import take
from runner.training.state import Clock, TrainState

log = logging.getLogger("runner")


def fit(parts: Parts, state: TrainState, tracker: Tracker, checkpoints: Checkpoints, stop: Stop) -> None:
    """Trains from where `state` stands until the run is finished or a stop is requested; saves in either case.

    Raises:
        Diverged: the loss or the gradient is not finite. The weights in the checkpoints are from before.
        CheckpointError: a checkpoint cannot be written.
    """
    clock = Clock()
    if state.validating and not epoch_is_over(parts, state):  # it was cut short
        validate(parts, state, tracker, stop)
        if state.improved:
            save(parts, state, tracker, checkpoints, clock)

    while not stop.requested and (state.unreported or not finished(parts, state)):
        train_epoch(parts, state, tracker, checkpoints, stop, clock)
        if stop.requested:
            break
        every, unit = parts.config.trainer.validation_period
        last = state.step == parts.total_steps
        due = state.validating or last or (unit == "epoch" and (state.epoch + 1) % every == 0)
        if due and not validate(parts, state, tracker, stop):
            break
        end_epoch(parts, state, tracker, clock)
        if parts.rungs is not None and not finished(parts, state):
            state.behind = parts.world.any(parts.world.leads and parts.rungs.is_behind(state.epoch))
        if state.improved or last or finished(parts, state) or save_is_due(parts, state, clock, epoch_ended=True):
            save(parts, state, tracker, checkpoints, clock)

    if stop.requested:
        save(parts, state, tracker, checkpoints, clock)


def train_epoch(
    parts: Parts, state: TrainState, tracker: Tracker, checkpoints: Checkpoints, stop: Stop, clock: Clock
) -> None:
    """One pass over the training split, from `state.position` on, or until a stop is requested."""
    settings = parts.config.trainer
    params = [parameter for parameter in parts.model.parameters() if parameter.requires_grad]
    every, unit = settings.validation_period
    first = state.position * settings.accumulate
    batches: list[tuple[Tensor, Tensor]] | None = [] if needs_closure(parts.optimizer) else None  # of the step in hand
    losses: list[Tensor] = []  # since the last look at them
    reading_is_free = parts.device.type == "cpu"  # elsewhere, to read a number is to wait for the device
    if finished(parts, state):
        return
    parts.model.train()

    batches_to_come = clock.waiting(state, parts.train.epoch(state.epoch, start=first))
    for index, (inputs, targets) in enumerate(batches_to_come, start=first):
        # Forward and backward. The gradients of `accumulate` batches add up to that of one large batch.
        with parts.autocast():
            outputs = parts.forward(inputs)
            loss = parts.loss(outputs, targets)
        summed, objective = reduce(loss, parts.reduction, targets.shape[0], samples_in_step(parts, state))
        parts.scaler.scale(objective).backward()
        state.recent.update(summed, outputs, targets)
        losses.append(summed)
        if batches is not None:
            batches.append((inputs, targets))
        if (index + 1) % settings.accumulate and index + 1 < len(parts.train):
            continue

        # Step, with the gradient of all processes.
        parts.world.add_up_gradients(params)
        parts.scaler.unscale_(parts.optimizer)
        log_is_due = (state.step + 1) % settings.log_every == 0
        if log_is_due or reading_is_free:
            stop_if_not_finite(parts, state, checkpoints, losses, params)
            losses.clear()
        if log_is_due or settings.clip_norm is not None:
            grad_norm = nn.utils.get_total_norm([p.grad for p in params if p.grad is not None])
        if settings.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(params, settings.clip_norm, grad_norm)
        if batches is not None:
            parts.optimizer.step(partial(differentiate, parts, batches, samples_in_step(parts, state)))
            batches = []
        else:
            parts.scaler.step(parts.optimizer)
            parts.scaler.update()
        parts.optimizer.zero_grad()
        if parts.ema is not None:
            parts.ema.update(parts.model)
        state.step += 1
        state.position += 1
        state.unreported = True
        state.lr = parts.optimizer.param_groups[0]["lr"]
        if parts.config.scheduler.interval == "step":
            parts.scheduler.step()

        # Look, now and then.
        stop.agree()
        if log_is_due:
            log_window(parts, state, tracker, grad_norm)
        tracker.progress(state.step)
        state.validating = unit == "step" and state.step % every == 0
        if epoch_is_over(parts, state):
            return
        if state.validating:
            validate(parts, state, tracker, stop)
            parts.model.train()
        if stop.requested or finished(parts, state):
            return
        if state.improved or save_is_due(parts, state, clock):
            save(parts, state, tracker, checkpoints, clock)


def differentiate(parts: Parts, batches: list[tuple[Tensor, Tensor]], samples: int) -> float:
    """The closure: zeroes the gradient, then forward and backward of a step's batches, with the weights as they are."""
    parts.optimizer.zero_grad()
    total = torch.zeros((), device=exp.device)
    for inputs, targets in batches:
        with parts.autocast():
            loss = parts.loss(parts.forward(inputs), targets)
        _, objective = reduce(loss, parts.reduction, len(targets), samples)
        objective.backward()
        total += objective.detach()
    parts.world.add_up_gradients(parts.model.parameters())
    if parts.config.trainer.clip_norm is not None:
        nn.utils.clip_grad_norm_(parts.model.parameters(), parts.config.trainer.clip_norm)
    return parts.world.totals([total.item()])[0]


def validate(parts: Parts, state: TrainState, tracker: Tracker, stop: Stop) -> bool:
    """Measures the validation split and judges it; returns False, with nothing judged, when a stop cut it short."""
    parts.world.align(parts.judged)
    metrics = evaluate(parts, parts.val, stop)
    if metrics is None:
        return False
    state.validating = False
    state.val, state.validated = metrics, state.step
    state.fold()
    tracker.scalars({f"val/{name}": value for name, value in metrics.items()}, state.step)
    seen = {f"val/{name}": value for name, value in metrics.items()}
    seen |= {f"train/{name}": value for name, value in state.sums.compute().items()}
    if isinstance(parts.scheduler, ReduceLROnPlateau):
        parts.scheduler.step(seen[state.best.metric])
    state.early.look(seen, state.epoch + 1, state.step)
    state.improved |= state.best.look(seen, state.epoch + 1, state.step)
    return True


def evaluate(parts: Parts, batches: Batches, stop: Stop | None = None) -> dict[str, float] | None:
    """The metrics of a split; None when a stop cut it short."""
    metrics = Metrics(parts.spec.task, parts.device, batches.world)
    for found, _ in zip_longest(predict(parts, batches), range(len(batches))):  # without a share of the last one: None
        if stop is not None:
            stop.agree()
            if stop.requested:
                return None
        if found is not None:
            outputs, targets, loss = found
            metrics.update(loss, outputs, targets)
    return metrics.compute()


def predict(parts: Parts, batches: Batches) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Outputs [B, F], targets and summed loss of each batch, in the order of the split, without training."""
    parts.judged.eval()
    for inputs, targets in batches.epoch():
        with torch.no_grad(), parts.autocast():  # inference_mode would break models that keep a tensor of a call
            outputs = parts.judged(inputs)
            loss = parts.loss(outputs, targets)
        summed, _ = reduce(loss, parts.reduction, len(targets), len(targets))
        yield outputs.float(), targets, summed


def reduce(loss: Tensor, reduction: str, samples: int, step_samples: int) -> tuple[Tensor, Tensor]:
    """A batch's loss as a sum over its samples, and as what to differentiate: its share of the step's loss.

    Args:
        loss: what the loss returned: a mean or a sum over the batch, or values [B] or [B, F] (then their mean counts).
        reduction: which of them.
        samples: in this batch. step_samples: in all batches of the step.
    """
    if reduction == "sum":
        return loss.detach(), loss
    if reduction == "none":
        loss = loss.mean()
    return loss.detach() * samples, loss if samples == step_samples else loss * (samples / step_samples)


def samples_in_step(parts: Parts, state: TrainState) -> int:
    """Samples of the step in hand; the last one of an epoch may have fewer."""
    full = parts.train.size * parts.config.trainer.accumulate
    return min(full, parts.train.samples - state.position * full)


def epoch_is_over(parts: Parts, state: TrainState) -> bool:
    return state.position == parts.steps_per_epoch or state.step == parts.total_steps


def finished(parts: Parts, state: TrainState) -> bool:
    patience = parts.config.trainer.early_stopping.patience
    tired = patience is not None and state.early.stale >= patience
    return state.step >= parts.total_steps or tired or state.behind


def end_epoch(parts: Parts, state: TrainState, tracker: Tracker, clock: Clock) -> None:
    """Writes the epoch's row and moves on to the next."""
    state.fold()
    state.train = state.sums.compute()
    clock.update(state)
    row: dict[str, float] = {"epoch": state.epoch + 1, "step": state.step}
    row |= {f"train/{name}": value for name, value in state.train.items()}
    if val_belongs_to_row(parts, state):
        row |= {f"val/{name}": value for name, value in state.val.items()}
    row |= {"lr": state.lr, "seconds": state.epoch_seconds}
    if state.position == parts.steps_per_epoch:  # max_steps may end a run within an epoch
        if parts.config.scheduler.interval == "epoch" and not isinstance(parts.scheduler, ReduceLROnPlateau):
            parts.scheduler.step()
        state.epoch += 1
        state.position = 0
        state.sums.reset()
        state.epoch_seconds = 0.0
    state.unreported = False
    tracker.epoch(row, state)


def val_belongs_to_row(parts: Parts, state: TrainState) -> bool:
    """Whether the newest validation was made in the epoch that ends: now, or at one of its regular steps.

    One at the end of a run within the epoch does not count once the run has been extended.
    """
    every, unit = parts.config.trainer.validation_period
    in_epoch = state.validated > state.step - state.position
    return state.validated == state.step or (unit == "step" and in_epoch and state.validated % every == 0)


def log_window(parts: Parts, state: TrainState, tracker: Tracker, grad_norm: Tensor) -> None:
    """Logs the mean over the steps since the last log."""
    state.fold()
    scalars = {f"train/{name}": value for name, value in state.window.compute().items()}
    scalars |= {"train/grad_norm": grad_norm.item(), "lr": state.lr}
    tracker.scalars(scalars, state.step)
    state.window.reset()


def stop_if_not_finite(
    parts: Parts, state: TrainState, checkpoints: Checkpoints, losses: list[Tensor], params: Sequence[Tensor]
) -> None:
    """Raises Diverged when a loss or the gradient is not finite. In fp16 the scaler skips such gradients itself."""
    bad = [value for value in parts.world.totals([loss.item() for loss in losses]) if not math.isfinite(value)]
    if bad or not (parts.scaler.is_enabled() or are_finite(params)):
        what = f"the loss is {bad[0]}" if bad else "the gradient is not finite"
        raise Diverged(diverged(parts, state.step + 1, what, checkpoints))


def are_finite(params: Sequence[Tensor]) -> bool:
    """Whether every number of their gradients is, in the one operation by which GradScaler looks."""
    grads = [torch.view_as_real(p.grad) if p.is_complex() else p.grad for p in params if p.grad is not None]
    if not grads:
        return True
    found, one = zero_and_one(grads[0].device)
    torch._amp_foreach_non_finite_check_and_unscale_(grads, found, one)
    if not found.item():
        return True
    found.zero_()
    return False


@cache
def zero_and_one(device: torch.device) -> tuple[Tensor, Tensor]:
    """Made once: to make them takes longer than to look at a small gradient."""
    return torch.zeros((), device=device), torch.ones((), device=device)


def diverged(parts: Parts, step: int, what: str, checkpoints: Checkpoints) -> str:
    """What happened, what is left, and what to try."""
    good = "/".join(checkpoints.last.parts[-2:]) if checkpoints.last.exists() else "none yet"
    return (
        f"step {step}: {what}\n"
        f"last good checkpoint: {good}\n"
        f"try a lower optim.lr (now {parts.optimizer.param_groups[0]['lr']:g}), trainer.clip_norm=1, "
        "or trainer.precision=fp32"
    )


def save_is_due(parts: Parts, state: TrainState, clock: Clock, epoch_ended: bool = False) -> bool:
    settings = parts.config.trainer.checkpoint
    by_steps = settings.every_steps is not None and state.step % settings.every_steps == 0
    by_epochs = epoch_ended and settings.every_epochs is not None and state.epoch % settings.every_epochs == 0
    by_minutes = settings.every_minutes is not None and parts.world.any(
        clock.since_save() >= 60 * settings.every_minutes
    )
    return by_steps or by_epochs or by_minutes


def save(parts: Parts, state: TrainState, tracker: Tracker, checkpoints: Checkpoints, clock: Clock) -> None:
    """Saves everything that is needed to go on as if nothing had happened; as the best one too, if it is.

    The leader of the world does, together with what each of the others has for itself.

    Raises:
        Diverged: a weight is not finite; nothing is saved. CheckpointError: the disk refused.
    """
    if not torch.stack([parameter.isfinite().all() for parameter in parts.model.parameters()]).all():
        raise Diverged(diverged(parts, state.step, "a weight is not finite", checkpoints))
    clock.update(state)
    best, state.improved = state.improved, False
    snapshot = take(parts, state, tracker.positions() if parts.world.leads else {})
    if parts.world.leads:
        checkpoints.save(snapshot, best=best)
        tracker.results.progress(state, parts)
    clock.saved()
