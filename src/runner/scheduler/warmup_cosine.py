"""Linear warmup followed by cosine annealing."""

import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from runner.registry import SCHEDULERS


@SCHEDULERS.register("warmup_cosine")
def warmup_cosine(
    optimizer: Optimizer, total_steps: int, warmup: float = 0.05, eta_min: float = 0.0, last_epoch: int = -1
) -> LambdaLR:
    """Linear warmup to the optimizer's learning rate, then cosine annealing to `eta_min`.

    Args:
        optimizer: optimizer whose learning rates are scheduled.
        total_steps: number of scheduler steps in the run; the annealing ends with the last one.
        warmup: fraction of `total_steps` spent in the warmup.
        eta_min: final learning rate.
        last_epoch: index of the last step; -1 for a new schedule.

    Returns:
        The scheduler.

    Raises:
        ValueError: `warmup` is not in [0, 1).

    Source:
        Warmup: Goyal et al. 2017, "Accurate, Large Minibatch SGD", section 2.2.
        Annealing: Loshchilov and Hutter 2017, "SGDR", equation 5, without restarts.
    """
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup is a fraction of all steps and must be in [0, 1), found {warmup}")
    warm = min(round(warmup * total_steps), total_steps - 1)

    def factor(least: float) -> Callable[[int], float]:
        """Return a function from the step to the factor of the learning rate, which ends at `least`."""

        def at(step: int) -> float:
            if step < warm:
                return (step + 1) / (warm + 1)
            done = min(1.0, (step - warm) / max(1, total_steps - warm))
            return least + (1 - least) * (1 + math.cos(math.pi * done)) / 2

        return at

    rates = [group["lr"] for group in optimizer.param_groups]
    return LambdaLR(optimizer, [factor(eta_min / rate if rate else 0.0) for rate in rates], last_epoch)
