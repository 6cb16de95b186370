"""Hand-written gradient descent."""

from collections.abc import Callable

import torch
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from runner.registry import OPTIMIZERS


@OPTIMIZERS.register("gradient_descent")
class GradientDescent(Optimizer):
    """Gradient descent, w = w - lr * grad; equal bit for bit to `torch.optim.SGD` without momentum.

    Args:
        params: parameters or parameter groups.
        lr: learning rate.

    Raises:
        ValueError: `lr` is negative.
    """

    def __init__(self, params: ParamsT, lr: float = 0.01) -> None:
        if lr < 0:
            raise ValueError(f"lr must be at least 0, found {lr}")
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.sub_(weight.grad, alpha=group["lr"])
        return loss
