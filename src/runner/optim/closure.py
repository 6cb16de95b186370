"""Optimizers that evaluate the loss themselves."""

import inspect

from torch.optim import Optimizer


def needs_closure(optimizer: Optimizer) -> bool:
    """Return whether the optimizer's `step` requires a closure, as that of `torch.optim.LBFGS` does."""
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    return closure is not None and closure.default is closure.empty
