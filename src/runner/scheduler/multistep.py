"""Learning-rate decay at given milestones."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import MultiStepLR

from runner.registry import SCHEDULERS


@SCHEDULERS.register("multistep")
def multistep(optimizer: Optimizer, milestones: list[int], gamma: float = 0.1, last_epoch: int = -1) -> MultiStepLR:
    """Multiply the learning rate by `gamma` at each milestone, `torch.optim.lr_scheduler.MultiStepLR`.

    The class itself cannot be registered: its annotations name types that its module does not define at run time.

    Args:
        optimizer: optimizer whose learning rates are scheduled.
        milestones: numbers of epochs (or steps, for `scheduler.interval=step`), each at least 1 and increasing.
        gamma: factor of each decay.
        last_epoch: index of the last epoch (or step); -1 for a new schedule.

    Returns:
        The scheduler.

    Raises:
        ValueError: the `milestones` are not increasing, or one is below 1.
    """
    if milestones != sorted(set(milestones)) or min(milestones, default=1) < 1:
        raise ValueError(f"milestones must be increasing and at least 1, found {milestones}")
    return MultiStepLR(optimizer, milestones, gamma, last_epoch)
