"""Fused SGD for parameters that get their first gradient later than others."""

from typing import Any

import torch
from torch.optim import SGD, Optimizer


def allow_late_gradients(optimizer: Optimizer) -> None:
    """Let fused SGD take up parameters after its first step, which torch refuses with a TypeError.

    The hook removes itself once all parameters have their momentum.
    """
    if not isinstance(optimizer, SGD) or not all(group["fused"] for group in optimizer.param_groups):
        return

    def before_step(sgd: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if sum([_start_momentum(sgd, group) for group in sgd.param_groups]) == 0:
            handle.remove()

    handle = optimizer.register_step_pre_hook(before_step)


@torch.no_grad()
def _start_momentum(sgd: Optimizer, group: dict[str, Any]) -> int:
    """Give late parameters the buffer from which torch's step leads to their gradient, as at a first step.

    Returns:
        How many parameters had no buffer.
    """
    if group["momentum"] == 0:
        return 0
    missing = [p for p in group["params"] if sgd.state[p].get("momentum_buffer") is None]
    if missing and len(missing) < len(group["params"]):  # else torch's own first step
        for parameter in missing:
            if parameter.grad is not None:
                gradient = -parameter.grad if group["maximize"] else parameter.grad
                gradient = gradient.add(parameter, alpha=group["weight_decay"])
                sgd.state[parameter]["momentum_buffer"] = gradient.mul_(group["dampening"] / group["momentum"])
    return len(missing)
