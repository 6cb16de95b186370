"""The parts of a training step: backward pass, gradient check and clipping, optimizer update."""

import math
from collections.abc import Iterable, Sequence
from functools import cache

import torch
from torch import Tensor, nn

from runner.errors import Diverged
from runner.training.trainer import Batch, Trainer


def backward(t: Trainer, loss: Tensor, outputs: Tensor, targets: Tensor) -> None:
    """Accumulate the gradient of a micro-batch, weighted by its share of the step's samples, and record its metrics."""
    summed, objective = reduce(loss, t.parts.reduction, len(targets), t.samples_in_step)
    t.parts.scaler.scale(objective).backward()
    t.losses.append(objective.detach())
    t.state.recent.update(summed, outputs, targets)


def reduce(loss: Tensor, reduction: str, samples: int, step_samples: int) -> tuple[Tensor, Tensor]:
    """Return the loss summed over a micro-batch, and the micro-batch's share of the step's loss to backpropagate.

    Args:
        loss: output of the loss function: the mean or sum over the micro-batch, or values [B] or [B, F] to average.
        reduction: "mean", "sum" or "none".
        samples: number of samples in the micro-batch.
        step_samples: number of samples in all micro-batches of the step, on all ranks.
    """
    if reduction == "sum":
        return loss.detach(), loss
    if reduction == "none":
        loss = loss.mean()
    return loss.detach() * samples, loss if samples == step_samples else loss * (samples / step_samples)


def prepare_gradients(t: Trainer) -> Tensor | None:
    """Sum the gradients over all processes, check that they are finite, and clip them.

    Returns:
        The gradient norm before clipping, or None if neither logging nor clipping needs it.

    Raises:
        Diverged: a loss or the gradient is not finite.
    """
    parts, clip_norm = t.parts, t.parts.config.trainer.clip_norm
    parts.world.add_up_gradients(t.parameters)
    parts.scaler.unscale_(parts.optimizer)
    if t.check_is_due:
        stop_if_not_finite(t)
    if not t.log_is_due and clip_norm is None:
        return None
    norm = nn.utils.get_total_norm([p.grad for p in t.parameters if p.grad is not None])
    if clip_norm is not None:
        nn.utils.clip_grads_with_norm_(t.parameters, clip_norm, norm)
    return norm


def optimizer_step(t: Trainer, micro_batches: Iterable[Batch]) -> None:
    """Update the weights; an optimizer such as L-BFGS evaluates the micro-batches again."""
    if t.needs_closure:
        t.parts.optimizer.step(Closure(t, list(micro_batches)))
    else:
        t.parts.scaler.step(t.parts.optimizer)
        t.parts.scaler.update()
    if t.check_is_due:
        t.losses.clear()


class Closure:
    """Closure for optimizers such as L-BFGS: compute the loss of a step and its gradient.

    The first call returns the loss that the training loop has just computed.
    """

    def __init__(self, t: Trainer, micro_batches: Sequence[Batch]) -> None:
        self.t, self.micro_batches = t, micro_batches
        self.known: list[Tensor] | None = t.losses[-len(micro_batches) :]

    def __call__(self) -> float:
        losses = self.known or self.evaluate()
        self.known = None
        return self.t.parts.world.totals([torch.stack(losses).sum().item()])[0]

    def evaluate(self) -> list[Tensor]:
        """Recompute the gradient with the current weights, and return the losses of the micro-batches."""
        parts, clip_norm = self.t.parts, self.t.parts.config.trainer.clip_norm
        parts.optimizer.zero_grad()
        losses = []
        for inputs, targets in self.micro_batches:
            with parts.autocast():
                loss = parts.loss(parts.forward(inputs), targets)
            _, objective = reduce(loss, parts.reduction, len(targets), self.t.samples_in_step)
            objective.backward()
            losses.append(objective.detach())
        parts.world.add_up_gradients(self.t.parameters)
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(self.t.parameters, clip_norm)
        return losses


def stop_if_not_finite(t: Trainer) -> None:
    """Raise Diverged if a loss or the gradient is not finite.

    With fp16 only the losses are checked: the gradient scaler skips steps with a non-finite gradient.
    """
    losses = t.parts.world.totals([loss.item() for loss in t.losses])
    bad = [value for value in losses if not math.isfinite(value)]
    if bad or not (t.parts.scaler.is_enabled() or are_finite(t.parameters)):
        raise diverged(t, t.state.step + 1, f"the loss is {bad[0]}" if bad else "the gradient is not finite")


def are_finite(params: Sequence[Tensor]) -> bool:
    """Return whether all gradients are finite.

    This uses the fused check of `torch.amp.GradScaler`: with `torch.nn.utils.get_total_norm`, a step of a small MLP
    takes 21% longer and a step of LeNet 4%.
    """
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
    """Return two tensors for the check: its result, and a factor of 1.

    They are cached, because allocating them adds 3% to a step of a small MLP.
    """
    return torch.zeros((), device=device), torch.ones((), device=device)


def diverged(t: Trainer, step: int, what: str) -> Diverged:
    """Return an error that names the step, the last good checkpoint, and what to try."""
    good = "/".join(t.checkpoints.last.parts[-2:]) if t.checkpoints.last.exists() else "none yet"
    return Diverged(
        f"step {step}: {what}\n"
        f"last good checkpoint: {good}\n"
        f"try a lower optim.lr (now {t.parts.optimizer.param_groups[0]['lr']:g}), trainer.clip_norm=1, "
        "or trainer.precision=fp32"
    )
