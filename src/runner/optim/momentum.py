"""A workaround for the momentum buffers of torch's fused SGD."""

from typing import Any

import torch
from torch.optim import SGD, Optimizer


def complete_momentum(optimizer: Optimizer) -> None:
    """Create the momentum buffers of fused SGD that torch would not create, or leave uninitialized.

    torch creates all of them in the first step. If a parameter gets its first gradient later, because a part of the
    model is not used before, this is a TypeError; if a gradient scaler skips the first step, the buffers stay
    uninitialized. A hook before each step creates the missing buffers; it removes itself when none is missing.
    """
    if not isinstance(optimizer, SGD) or not all(group["fused"] for group in optimizer.param_groups):
        return

    def before_step(sgd: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if sum([_create_missing(sgd, group) for group in sgd.param_groups]) == 0:
            handle.remove()

    handle = optimizer.register_step_pre_hook(before_step)


@torch.no_grad()
def _create_missing(sgd: Optimizer, group: dict[str, Any]) -> int:
    """Create the missing momentum buffers so that the next step of their parameters is like a first step.

    Returns:
        The number of parameters that had no buffer.
    """
    if group["momentum"] == 0:
        return 0
    missing = [p for p in group["params"] if sgd.state[p].get("momentum_buffer") is None]
    for parameter in missing:
        if group["dampening"] == 0:  # the first step sets the buffer to the gradient: momentum * 0 + gradient
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        elif len(missing) < len(group["params"]) and parameter.grad is not None:  # else torch creates all buffers
            gradient = -parameter.grad if group["maximize"] else parameter.grad
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
            sgd.state[parameter]["momentum_buffer"] = gradient.mul_(group["dampening"] / group["momentum"])
    return len(missing)


def skips_on_device(optimizer: Optimizer) -> bool:
    """Return whether a step changes nothing if `optimizer.found_inf` is 1, so that nobody needs to read that value.

    The fused kernels of torch skip the update, except those for MPS. Fused SGD with dampening has no momentum buffers
    before its first step, see `complete_momentum`.
    """
    if not getattr(optimizer, "_step_supports_amp_scaling", False):
        return False
    for group in optimizer.param_groups:
        if not group.get("fused", True) or any(parameter.device.type == "mps" for parameter in group["params"]):
            return False
        if isinstance(optimizer, SGD) and group["momentum"] != 0 and group["dampening"] != 0:
            return False
    return True
