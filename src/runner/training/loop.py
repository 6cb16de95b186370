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
from runner.training.parts import Experiment
from runner.training.snapshot import take
from runner.training.state import Clock, TrainState

log = logging.getLogger("runner")


def fit(exp: Experiment, state: TrainState, tracker: Tracker, checkpoints: Checkpoints, stop: Stop) -> None:
    """Trains from where `state` stands until the run is finished or a stop is requested; saves in either case.

    Raises:
        Diverged: the loss or the gradient is not finite. The weights in the checkpoints are from before.
        CheckpointError: a checkpoint cannot be written.
    """
    clock = Clock()
    if state.validating and not epoch_is_over(exp, state):  # it was cut short
        validate(exp, state, tracker, stop)
        if state.improved:
            save(exp, state, tracker, checkpoints, clock)

    while not stop.requested and (state.unreported or not finished(exp, state)):
        train_epoch(exp, state, tracker, checkpoints, stop, clock)
        if stop.requested:
            break
        every, unit = exp.config.trainer.validation_period
        last = state.step == exp.total_steps
        due = state.validating or last or (unit == "epoch" and (state.epoch + 1) % every == 0)
        if due and not validate(exp, state, tracker, stop):
            break
        end_epoch(exp, state, tracker, clock)
        if exp.rungs is not None and not finished(exp, state):
            state.behind = exp.world.any(exp.world.leads and exp.rungs.is_behind(state.epoch))
        if state.improved or last or finished(exp, state) or save_is_due(exp, state, clock, epoch_ended=True):
            save(exp, state, tracker, checkpoints, clock)

    if stop.requested:
        save(exp, state, tracker, checkpoints, clock)


def train_epoch(
    exp: Experiment, state: TrainState, tracker: Tracker, checkpoints: Checkpoints, stop: Stop, clock: Clock
) -> None:
    """One pass over the training split, from `state.position` on, or until a stop is requested."""
    settings = exp.config.trainer
    params = [parameter for parameter in exp.model.parameters() if parameter.requires_grad]
    every, unit = settings.validation_period
    first = state.position * settings.accumulate
    batches: list[tuple[Tensor, Tensor]] | None = [] if needs_closure(exp.optimizer) else None  # of the step in hand
    losses: list[Tensor] = []  # since the last look at them
    reading_is_free = exp.device.type == "cpu"  # elsewhere, to read a number is to wait for the device
    if finished(exp, state):
        return
    exp.model.train()

    batches_to_come = clock.waiting(state, exp.train.epoch(state.epoch, start=first))
    for index, (inputs, targets) in enumerate(batches_to_come, start=first):
        # Forward and backward. The gradients of `accumulate` batches add up to that of one large batch.
        with exp.autocast():
            outputs = exp.forward(inputs)
            loss = exp.loss(outputs, targets)
        summed, objective = reduce(loss, exp.reduction, targets.shape[0], samples_in_step(exp, state))
        exp.scaler.scale(objective).backward()
        state.recent.update(summed, outputs, targets)
        losses.append(summed)
        if batches is not None:
            batches.append((inputs, targets))
        if (index + 1) % settings.accumulate and index + 1 < len(exp.train):
            continue

        # Step, with the gradient of all processes.
        exp.world.add_up_gradients(params)
        exp.scaler.unscale_(exp.optimizer)
        log_is_due = (state.step + 1) % settings.log_every == 0
        if log_is_due or reading_is_free:
            stop_if_not_finite(exp, state, checkpoints, losses, params)
            losses.clear()
        if log_is_due or settings.clip_norm is not None:
            grad_norm = nn.utils.get_total_norm([p.grad for p in params if p.grad is not None])
        if settings.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(params, settings.clip_norm, grad_norm)
        if batches is not None:
            exp.optimizer.step(partial(differentiate, exp, batches, samples_in_step(exp, state)))
            batches = []
        else:
            exp.scaler.step(exp.optimizer)
            exp.scaler.update()
        exp.optimizer.zero_grad()
        if exp.ema is not None:
            exp.ema.update(exp.model)
        state.step += 1
        state.position += 1
        state.unreported = True
        state.lr = exp.optimizer.param_groups[0]["lr"]
        if exp.config.scheduler.interval == "step":
            exp.scheduler.step()

        # Look, now and then.
        stop.agree()
        if log_is_due:
            log_window(exp, state, tracker, grad_norm)
        tracker.progress(state.step)
        state.validating = unit == "step" and state.step % every == 0
        if epoch_is_over(exp, state):
            return
        if state.validating:
            validate(exp, state, tracker, stop)
            exp.model.train()
        if stop.requested or finished(exp, state):
            return
        if state.improved or save_is_due(exp, state, clock):
            save(exp, state, tracker, checkpoints, clock)


def differentiate(exp: Experiment, batches: list[tuple[Tensor, Tensor]], samples: int) -> float:
    """The closure: zeroes the gradient, then forward and backward of a step's batches, with the weights as they are."""
    exp.optimizer.zero_grad()
    total = torch.zeros((), device=exp.device)
    for inputs, targets in batches:
        with exp.autocast():
            loss = exp.loss(exp.forward(inputs), targets)
        _, objective = reduce(loss, exp.reduction, len(targets), samples)
        objective.backward()
        total += objective.detach()
    exp.world.add_up_gradients(exp.model.parameters())
    if exp.config.trainer.clip_norm is not None:
        nn.utils.clip_grad_norm_(exp.model.parameters(), exp.config.trainer.clip_norm)
    return exp.world.totals([total.item()])[0]


def validate(exp: Experiment, state: TrainState, tracker: Tracker, stop: Stop) -> bool:
    """Measures the validation split and judges it; returns False, with nothing judged, when a stop cut it short."""
    exp.world.align(exp.judged)
    metrics = evaluate(exp, exp.val, stop)
    if metrics is None:
        return False
    state.validating = False
    state.val, state.validated = metrics, state.step
    state.fold()
    tracker.scalars({f"val/{name}": value for name, value in metrics.items()}, state.step)
    seen = {f"val/{name}": value for name, value in metrics.items()}
    seen |= {f"train/{name}": value for name, value in state.sums.compute().items()}
    if isinstance(exp.scheduler, ReduceLROnPlateau):
        exp.scheduler.step(seen[state.best.metric])
    state.early.look(seen, state.epoch + 1, state.step)
    state.improved |= state.best.look(seen, state.epoch + 1, state.step)
    return True


def evaluate(exp: Experiment, batches: Batches, stop: Stop | None = None) -> dict[str, float] | None:
    """The metrics of a split; None when a stop cut it short."""
    metrics = Metrics(exp.spec.task, exp.device, batches.world)
    for found, _ in zip_longest(predict(exp, batches), range(len(batches))):  # without a share of the last one: None
        if stop is not None:
            stop.agree()
            if stop.requested:
                return None
        if found is not None:
            outputs, targets, loss = found
            metrics.update(loss, outputs, targets)
    return metrics.compute()


def predict(exp: Experiment, batches: Batches) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Outputs [B, F], targets and summed loss of each batch, in the order of the split, without training."""
    exp.judged.eval()
    for inputs, targets in batches.epoch():
        with torch.no_grad(), exp.autocast():  # inference_mode would break models that keep a tensor of a call
            outputs = exp.judged(inputs)
            loss = exp.loss(outputs, targets)
        summed, _ = reduce(loss, exp.reduction, len(targets), len(targets))
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


def samples_in_step(exp: Experiment, state: TrainState) -> int:
    """Samples of the step in hand; the last one of an epoch may have fewer."""
    full = exp.train.size * exp.config.trainer.accumulate
    return min(full, exp.train.samples - state.position * full)


def epoch_is_over(exp: Experiment, state: TrainState) -> bool:
    return state.position == exp.steps_per_epoch or state.step == exp.total_steps


def finished(exp: Experiment, state: TrainState) -> bool:
    patience = exp.config.trainer.early_stopping.patience
    tired = patience is not None and state.early.stale >= patience
    return state.step >= exp.total_steps or tired or state.behind


def end_epoch(exp: Experiment, state: TrainState, tracker: Tracker, clock: Clock) -> None:
    """Writes the epoch's row and moves on to the next."""
    state.fold()
    state.train = state.sums.compute()
    clock.update(state)
    row: dict[str, float] = {"epoch": state.epoch + 1, "step": state.step}
    row |= {f"train/{name}": value for name, value in state.train.items()}
    if val_belongs_to_row(exp, state):
        row |= {f"val/{name}": value for name, value in state.val.items()}
    row |= {"lr": state.lr, "seconds": state.epoch_seconds}
    if state.position == exp.steps_per_epoch:  # max_steps may end a run within an epoch
        if exp.config.scheduler.interval == "epoch" and not isinstance(exp.scheduler, ReduceLROnPlateau):
            exp.scheduler.step()
        state.epoch += 1
        state.position = 0
        state.sums.reset()
        state.epoch_seconds = 0.0
    state.unreported = False
    tracker.epoch(row, state)


def val_belongs_to_row(exp: Experiment, state: TrainState) -> bool:
    """Whether the newest validation was made in the epoch that ends: now, or at one of its regular steps.

    One at the end of a run within the epoch does not count once the run has been extended.
    """
    every, unit = exp.config.trainer.validation_period
    in_epoch = state.validated > state.step - state.position
    return state.validated == state.step or (unit == "step" and in_epoch and state.validated % every == 0)


def log_window(exp: Experiment, state: TrainState, tracker: Tracker, grad_norm: Tensor) -> None:
    """Logs the mean over the steps since the last log."""
    state.fold()
    scalars = {f"train/{name}": value for name, value in state.window.compute().items()}
    scalars |= {"train/grad_norm": grad_norm.item(), "lr": state.lr}
    tracker.scalars(scalars, state.step)
    state.window.reset()


def stop_if_not_finite(
    exp: Experiment, state: TrainState, checkpoints: Checkpoints, losses: list[Tensor], params: Sequence[Tensor]
) -> None:
    """Raises Diverged when a loss or the gradient is not finite. In fp16 the scaler skips such gradients itself."""
    bad = [value for value in exp.world.totals([loss.item() for loss in losses]) if not math.isfinite(value)]
    if bad or not (exp.scaler.is_enabled() or are_finite(params)):
        what = f"the loss is {bad[0]}" if bad else "the gradient is not finite"
        raise Diverged(diverged(exp, state.step + 1, what, checkpoints))


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


def diverged(exp: Experiment, step: int, what: str, checkpoints: Checkpoints) -> str:
    """What happened, what is left, and what to try."""
    good = "/".join(checkpoints.last.parts[-2:]) if checkpoints.last.exists() else "none yet"
    return (
        f"step {step}: {what}\n"
        f"last good checkpoint: {good}\n"
        f"try a lower optim.lr (now {exp.optimizer.param_groups[0]['lr']:g}), trainer.clip_norm=1, "
        "or trainer.precision=fp32"
    )


def save_is_due(exp: Experiment, state: TrainState, clock: Clock, epoch_ended: bool = False) -> bool:
    settings = exp.config.trainer.checkpoint
    by_steps = settings.every_steps is not None and state.step % settings.every_steps == 0
    by_epochs = epoch_ended and settings.every_epochs is not None and state.epoch % settings.every_epochs == 0
    by_minutes = settings.every_minutes is not None and exp.world.any(clock.since_save() >= 60 * settings.every_minutes)
    return by_steps or by_epochs or by_minutes


def save(exp: Experiment, state: TrainState, tracker: Tracker, checkpoints: Checkpoints, clock: Clock) -> None:
    """Saves everything that is needed to go on as if nothing had happened; as the best one too, if it is.

    The leader of the world does, together with what each of the others has for itself.

    Raises:
        Diverged: a weight is not finite; nothing is saved. CheckpointError: the disk refused.
    """
    if not torch.stack([parameter.isfinite().all() for parameter in exp.model.parameters()]).all():
        raise Diverged(diverged(exp, state.step, "a weight is not finite", checkpoints))
    clock.update(state)
    best, state.improved = state.improved, False
    snapshot = take(exp, state, tracker.positions() if exp.world.leads else {})
    if exp.world.leads:
        checkpoints.save(snapshot, best=best)
        tracker.results.progress(state, exp)
    clock.saved()
