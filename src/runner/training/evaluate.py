"""Evaluation: the metrics of a split, and what follows from a validation."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from runner.data.batches import Batches
from runner.machine.signals import Stop
from runner.training.metrics import Metrics
from runner.training.parts import Parts
from runner.training.saving import save, save_is_due
from runner.training.step import reduce
from runner.training.trainer import Trainer


def validate(t: Trainer) -> None:
    """Evaluate the validation split, record the result, and save if it is the best or a checkpoint is due.

    If a stop is requested meanwhile, nothing is recorded, and `state.next` stays "validate" for the resumed run.
    """
    state, scheduler = t.state, t.parts.scheduler
    t.parts.world.align(t.parts.judged)
    metrics = evaluate(t.parts, t.parts.val, t.stop)
    if metrics is None:
        return
    state.val, state.validated = metrics, state.step
    state.merge_recent()
    measured = {f"val/{name}": value for name, value in metrics.items()}
    t.tracker.scalars(measured, state.step)
    measured |= {f"train/{name}": value for name, value in state.sums.compute().items()}
    if isinstance(scheduler, ReduceLROnPlateau):
        scheduler.step(measured[state.best.metric])
    state.early.look(measured, state.epoch + 1, state.step)
    state.best.look(measured, state.epoch + 1, state.step)
    state.next = "end epoch" if t.epoch_is_over or t.out_of_patience else "train"
    if state.next == "train" and (t.improved or save_is_due(t)):
        save(t)


def evaluate(parts: Parts, batches: Batches, stop: Stop | None = None) -> dict[str, float] | None:
    """Return the metrics of a split; None if a stop was requested meanwhile."""
    metrics, agreed = Metrics(parts.spec.task, parts.device, batches.world), 0
    for outputs, targets, loss in predict(parts, batches):
        metrics.update(loss, outputs, targets)
        agreed += 1
        if stop_requested(stop):
            return None
    # The last batch may have no sample for this rank, but all ranks must agree on a stop equally often.
    for _ in range(agreed, len(batches)):
        if stop_requested(stop):
            return None
    return metrics.compute()


def stop_requested(stop: Stop | None) -> bool:
    """Return whether a stop is requested, on any rank."""
    if stop is None:
        return False
    stop.agree()
    return stop.requested is not None


def predict(parts: Parts, batches: Batches) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield outputs [B, F], targets and the summed loss of each batch, in the order of the split."""
    parts.judged.eval()
    for inputs, targets in batches.epoch():
        with torch.no_grad(), parts.autocast():  # not inference_mode: the model may keep a tensor that training needs
            outputs = parts.judged(inputs)
            loss = parts.loss(outputs, targets)
        summed, _ = reduce(loss, parts.reduction, len(targets), len(targets))
        yield outputs.float(), targets, summed
