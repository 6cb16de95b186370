"""Steps down at given epochs or steps."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import MultiStepLR

from runner.registry import SCHEDULERS


@SCHEDULERS.register("multistep")
def multistep(optimizer: Optimizer, milestones: list[int], gamma: float = 0.1, last_epoch: int = -1) -> MultiStepLR:
    """Multiplies the rate with `gamma` at each milestone: `torch.optim.lr_scheduler.MultiStepLR`.

    torch's class is not registered itself because its annotations name types that its module does not have at run time.

    Args:
        milestones: after how many epochs, or steps; each at least 1, in ascending order.

    Raises:
        ValueError: they are not.
    """
    if milestones != sorted(set(milestones)) or min(milestones, default=1) < 1:
        raise ValueError(f"milestones must ascend from at least 1, found {milestones}")
    return MultiStepLR(optimizer, milestones, gamma, last_epoch)
