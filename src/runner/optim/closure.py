"""Which optimizers ask for loss and gradient themselves, instead of being handed the gradient."""

import inspect

from torch.optim import Optimizer


def needs_closure(optimizer: Optimizer) -> bool:
    """Whether its `step` cannot go without a closure, which it calls several times, as `torch.optim.LBFGS` does."""
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    return closure is not None and closure.default is closure.empty
