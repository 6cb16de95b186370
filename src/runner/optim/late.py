"""A workaround for parameters of fused SGD that get their first gradient late."""

from typing import Any

import torch
from torch.optim import SGD, Optimizer


def allow_late_gradients(optimizer: Optimizer) -> None:
    """Let parameters get their first gradient after the first step, for which torch's fused SGD raises a TypeError.

    This happens if a part of the model is not used in the first steps. A hook before each step creates the missing
    momentum buffers; it removes itself when all parameters have one.
    """
    if not isinstance(optimizer, SGD) or not all(group["fused"] for group in optimizer.param_groups):
        return

    def before_step(sgd: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if sum([_start_momentum(sgd, group) for group in sgd.param_groups]) == 0:
            handle.remove()

    handle = optimizer.register_step_pre_hook(before_step)


@torch.no_grad()
def _start_momentum(sgd: Optimizer, group: dict[str, Any]) -> int:
    """Create the momentum buffers of late parameters so that their next step is like a first step.

    Returns:
        The number of parameters without a buffer.
    """
    if group["momentum"] == 0:
        return 0
    missing = [p for p in group["params"] if sgd.state[p].get("momentum_buffer") is None]
    if missing and len(missing) < len(group["params"]):  # otherwise torch creates the buffers in its first step
        for parameter in missing:
            if parameter.grad is not None:
                gradient = -parameter.grad if group["maximize"] else parameter.grad
                gradient = gradient.add(parameter, alpha=group["weight_decay"])
                sgd.state[parameter]["momentum_buffer"] = gradient.mul_(group["dampening"] / group["momentum"])
    return len(missing)
