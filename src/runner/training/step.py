"""The parts of a training step: backward pass, gradient check and clipping, optimizer update."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from runner.dataset.tree import Tree, tensors
from runner.errors import Diverged
from runner.training.finite import Watch, are_finite
from runner.training.trainer import Step, Trainer, Weight


def backward(trainer: Trainer, loss: Tensor, outputs: Any, targets: Tree) -> None:
    """Accumulate the gradient of a micro-batch, weighted by its share of the step, and record its metrics."""
    weight = trainer.parts.weight(targets)
    summed, objective = weighted_loss(loss, trainer.parts.reduction, weight, trainer.step_weight)
    zero_gradient_if_weightless(outputs, weight)
    scale = trainer.parts.engine.gradient_scale
    trainer.parts.scaler.scale(objective if scale == 1 else objective * scale).backward()
    trainer.losses.append(objective.detach())
    trainer.state.record(summed, weight, outputs, targets)


def weighted_loss(loss: Tensor, reduction: str, weight: Weight, total: Weight | None) -> tuple[Tensor, Tensor]:
    """Return the loss summed over a micro-batch, and the micro-batch's share of the step's loss to backpropagate.

    Args:
        loss: output of the loss function: the mean or sum over the micro-batch, or values [B] or [B, F] to average.
        reduction: "mean", "sum" or "none".
        weight: weight of the micro-batch, such as its number of samples.
        total: weight of all micro-batches of the step, on all ranks. None: this is the only micro-batch.
    """
    if reduction == "sum":
        return loss.detach(), loss
    if reduction == "none":
        loss = loss.mean()
    if isinstance(weight, Tensor):
        loss = torch.where(weight > 0, loss, 0.0)  # the mean over no targets, all of them ignored, is NaN
    summed = loss.detach() * weight
    if total is None or (isinstance(weight, int) and weight == total):
        return summed, loss
    return summed, loss * (weight / total)


def zero_gradient_if_weightless(outputs: Any, weight: Weight) -> None:
    """Make the gradient of a micro-batch zero if its weight is, as with padding only; the mean over nothing has NaN.

    Args:
        outputs: outputs of the model for the micro-batch.
        weight: weight of the micro-batch.
    """
    if isinstance(weight, Tensor):
        for output in tensors(outputs):
            if output.requires_grad:
                output.register_hook(lambda gradient: torch.where(weight > 0, gradient, 0.0))


def prepare_gradients(trainer: Trainer) -> Tensor | None:
    """Combine the gradients of all shards and ranks, check that they are finite, and clip them.

    Returns:
        The gradient norm before clipping, or None if neither logging nor clipping needs it.

    Raises:
        Diverged: a loss or the gradient is not finite. An accelerator skips the update instead, and the run stops at
            the next log, validation or save.
    """
    parts, clip_norm = trainer.parts, trainer.parts.config.trainer.clip_norm
    parts.engine.combine_gradients()
    parts.scaler.unscale_(parts.optimizer)
    if trainer.watch is None:
        stop_if_not_finite(trainer)
    else:
        check_on_device(trainer, trainer.watch)
    stop_if_a_rank_diverged(trainer)  # in the step before
    trainer.start_all_reduce()
    return clip(trainer) if trainer.log_is_due or clip_norm is not None else None


def clip(trainer: Trainer) -> Tensor:
    """Clip the gradients if `trainer.clip_norm` is set, and return their norm before that."""
    norm, most = nn.utils.get_total_norm(gradients(trainer)), trainer.parts.config.trainer.clip_norm
    if most is not None:
        nn.utils.clip_grads_with_norm_(trainer.parameters, most, norm)
    return norm


def optimizer_step(trainer: Trainer, step: Step) -> None:
    """Update the weights and their average; an optimizer such as L-BFGS evaluates the micro-batches again."""
    if trainer.needs_closure:
        trainer.parts.optimizer.step(Closure(trainer, step))
    else:
        trainer.parts.scaler.step(trainer.parts.optimizer)
        trainer.parts.scaler.update()
    if trainer.parts.ema is not None:
        trainer.parts.ema.update(trainer.parts.model)
    if trainer.watch is None:
        trainer.losses.clear()


class Closure:
    """Closure for optimizers such as L-BFGS: compute the loss of a step and its gradient.

    The first call returns the loss that the training loop has just computed.
    """

    def __init__(self, trainer: Trainer, step: Step) -> None:
        self.trainer, self.step = trainer, step
        self.known: list[Tensor] | None = trainer.losses[-len(list(step.batches)) :]

    def __call__(self) -> float:
        losses = self.known or self.evaluate()
        self.known = None
        world = self.trainer.parts.world
        by_shard = torch.stack(losses).view(len(world.own_shards), -1).sum(1).tolist()
        return world.sum_over_shards([[loss] for loss in by_shard])[0]

    def evaluate(self) -> list[Tensor]:
        """Recompute the gradient with the current weights, and return the losses of the micro-batches."""
        parts, clip_norm = self.trainer.parts, self.trainer.parts.config.trainer.clip_norm
        parts.optimizer.zero_grad()
        losses = []
        for inputs, targets in self.step:
            with parts.autocast():
                outputs = parts.task.forward(parts.forward, inputs)
                loss = parts.task.loss(parts.loss, outputs, targets, inputs)
            weight = parts.weight(targets)
            _, objective = weighted_loss(loss, parts.reduction, weight, self.trainer.step_weight)
            zero_gradient_if_weightless(outputs, weight)
            (objective * parts.engine.gradient_scale).backward()
            losses.append(objective.detach())
        parts.engine.combine_gradients()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(self.trainer.parameters, clip_norm)
        return losses


def stop_if_not_finite(trainer: Trainer) -> None:
    """Raise Diverged if a loss or the gradient of the current step is not finite; on the CPU, before the update.

    With fp16 only the losses are checked: the gradient scaler skips steps with a non-finite gradient. With several
    ranks only the gradient is checked, which is the same on all of them; `stop_if_a_rank_diverged` checks the losses.
    """
    losses = trainer.losses if trainer.parts.world.size == 1 else []
    bad = [value for loss in losses if not math.isfinite(value := loss.item())]
    if bad or not (trainer.parts.scaler.is_enabled() or are_finite(gradients(trainer))):
        raise diverged(
            trainer, trainer.state.step + 1, f"the loss is {bad[0]}" if bad else "the gradient is not finite"
        )


def stop_if_a_rank_diverged(trainer: Trainer) -> None:
    """Wait for the pending all-reduce, and raise Diverged if a loss is not finite on any rank.

    It is started in one step and read in the next, or before a validation or save, so that it overlaps computation.
    """
    loss = trainer.finish_all_reduce()
    if not math.isfinite(loss):
        raise diverged(trainer, trainer.state.step, f"the loss is {loss} on at least one rank")


def check_on_device(trainer: Trainer, watch: Watch) -> None:
    """Check the losses and the gradient of a step on the accelerator, which skips the update if one is not finite.

    The losses of several ranks differ, but all of them must skip the same updates: only their gradient is checked.
    With fp16 only the losses are: the gradient scaler skips the steps with a non-finite gradient.
    """
    grads = [] if trainer.parts.scaler.is_enabled() else gradients(trainer)
    watch.check([*grads, *(trainer.losses_of_step if trainer.parts.world.size == 1 else [])])


def stop_if_a_step_diverged(trainer: Trainer, bad_steps: float | None = None) -> None:
    """Raise Diverged if the loss or the gradient of a step on an accelerator was not finite.

    Args:
        trainer: run that is being trained.
        bad_steps: value of `Watch.bad_steps`, if it has been read with others; None: read it, which waits for the
            device.
    """
    if trainer.watch is None:
        return
    bad_steps = trainer.watch.bad_steps.item() if bad_steps is None else bad_steps
    if bad_steps:
        bad = [value for loss in trainer.losses if not math.isfinite(value := loss.item())]
        what = f"the loss is {bad[0]}" if bad else "the gradient is not finite"
        raise diverged(trainer, trainer.state.step + 1 - int(bad_steps), what)
    trainer.losses.clear()


def gradients(trainer: Trainer) -> list[Tensor]:
    """Return the gradients of all parameters that have one."""
    return [parameter.grad for parameter in trainer.parameters if parameter.grad is not None]


def diverged(trainer: Trainer, step: int, what: str) -> Diverged:
    """Return an error that names the step, the last good checkpoint, and what to try."""
    trainer.saver.wait()
    good = "/".join(trainer.checkpoints.last.parts[-2:]) if trainer.checkpoints.last.exists() else "none yet"
    return Diverged(
        f"step {step}: {what}\n"
        f"last good checkpoint: {good}\n"
        f"try a lower optim.lr (now {trainer.parts.optimizer.param_groups[0]['lr']:g}), trainer.clip_norm=1, "
        "or trainer.precision=fp32"
    )
