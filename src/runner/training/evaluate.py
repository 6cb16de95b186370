"""Evaluation: the metrics of a split, and what follows from a validation."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from runner.data.batches import Batches
from runner.dataset.tree import Tree, map_tensors
from runner.machine.distributed import World
from runner.machine.seeds import restore_rng_state, rng_state
from runner.machine.signals import Stop
from runner.training.measuring.metrics import Metrics
from runner.training.parts import PRECISIONS, Parts
from runner.training.saving.save import save, save_is_due
from runner.training.step import weighted_loss
from runner.training.trainer import Trainer, Weight


def validate(trainer: Trainer) -> None:
    """Evaluate the validation split, record the result, and save if it is the best or a checkpoint is due.

    If a stop is requested meanwhile, nothing is recorded, and `state.next` stays "validate" for the resumed run.
    """
    state, scheduler, device = trainer.state, trainer.parts.scheduler, trainer.parts.device
    random = rng_state(device)
    trainer.parts.world.broadcast_buffers(trainer.parts.eval_model)
    metrics = evaluate(trainer.parts, trainer.parts.val, trainer.stop)
    if metrics is None:
        restore_rng_state(random, device)
        return
    state.val, state.validated = metrics, state.step
    state.merge_recent()
    measured = {f"val/{name}": value for name, value in metrics.items()}
    trainer.tracker.scalars(measured, state.step)
    measured |= {f"train/{name}": value for name, value in state.sums.compute().items()}
    if isinstance(scheduler, ReduceLROnPlateau):
        scheduler.step(measured[state.best.metric])
    state.early.update(measured, state.epoch + 1, state.step)
    state.best.update(measured, state.epoch + 1, state.step)
    state.next = "end epoch" if trainer.epoch_is_over or trainer.out_of_patience else "train"
    if state.next == "train" and (trainer.best_is_unsaved or save_is_due(trainer)):
        save(trainer)


def evaluate(parts: Parts, batches: Batches, stop: Stop | None = None) -> dict[str, float] | None:
    """Return the metrics of a split; None if a stop was requested meanwhile."""
    world, done = batches.world, 0
    metrics, shards = Metrics(parts.metric_set, parts.device, world), len(world.own_shards)
    for number, (outputs, targets, loss, weight) in enumerate(predict(parts, batches), start=1):
        metrics.update(loss, weight, outputs, targets)
        if number % shards == 0:
            done += 1
            if stop_requested(stop, world):
                return None
    # The last batch may have too few samples for this rank, but all ranks must agree on a stop equally often.
    for _ in range(done, len(batches)):
        if stop_requested(stop, world):
            return None
    return metrics.compute()


def stop_requested(stop: Stop | None, world: World) -> bool:
    """Return whether a stop is requested, on any rank."""
    if stop is None:
        return False
    stop.agree(world.any(stop.received is not None))
    return stop.requested is not None


def predict(parts: Parts, batches: Batches) -> Iterator[tuple[Any, Tree, Tensor, Weight]]:
    """Yield outputs, targets, the summed loss and the weight of each batch, in the order of the split."""
    parts.eval_model.eval()
    world = batches.world
    for number, (inputs, targets) in enumerate(batches.epoch()):
        world.current = number % len(world.own_shards)
        with torch.no_grad(), parts.autocast():  # not inference_mode: the model may keep a tensor that training needs
            outputs = parts.predict(inputs)
            loss = parts.task.loss(parts.loss, outputs, targets, inputs)
        weight = parts.weight(targets)
        summed, _ = weighted_loss(loss, parts.reduction, weight, None)
        yield map_tensors(in_full_precision, outputs), targets, summed, weight
    world.current = 0


def in_full_precision(outputs: Tensor) -> Tensor:
    """Return 16-bit outputs as float32; other tensors as they are."""
    return outputs.float() if outputs.dtype in PRECISIONS.values() else outputs
