"""A linear warm-up, then half a cosine down."""

import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from runner.registry import SCHEDULERS


@SCHEDULERS.register("warmup_cosine")
def warmup_cosine(
    optimizer: Optimizer, total_steps: int, warmup: float = 0.05, eta_min: float = 0.0, last_epoch: int = -1
) -> LambdaLR:
    """A linear warm-up to the optimizer's rate (Goyal et al. 2017, section 2.2), then half a cosine down to `eta_min`.

    The cosine is that of Loshchilov and Hutter 2017, equation 5, without restarts; it ends with the last step.

    Args:
        warmup: the share of `total_steps` that it takes.
        eta_min: the rate at the end.

    Raises:
        ValueError: warmup is not in [0, 1).
    """
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup is a share of all steps, at least 0 and below 1, found {warmup}")
    warm = min(round(warmup * total_steps), total_steps - 1)

    def factor(least: float) -> Callable[[int], float]:
        """What the rate is multiplied with before each step; `least` is where it ends."""

        def at(step: int) -> float:
            if step < warm:
                return (step + 1) / (warm + 1)
            done = min(1.0, (step - warm) / max(1, total_steps - warm))
            return least + (1 - least) * (1 + math.cos(math.pi * done)) / 2

        return at

    rates = [group["lr"] for group in optimizer.param_groups]
    return LambdaLR(optimizer, [factor(eta_min / rate if rate else 0.0) for rate in rates], last_epoch)
