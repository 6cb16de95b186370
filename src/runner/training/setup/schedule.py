"""The length of the learning-rate schedule, and how a resumed run continues it."""

from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from runner.config.schema import Config


def schedule_length(config: Config, batches_per_epoch: int) -> int:
    """Return the number of scheduler steps in the whole run: one per optimizer step, or one per epoch."""
    steps = config.trainer.total_steps(batches_per_epoch)
    return (
        steps if config.scheduler.interval == "step" else -(-steps // config.trainer.steps_per_epoch(batches_per_epoch))
    )


def replay(optimizer: Optimizer, scheduler: LRScheduler, steps: int) -> list[dict[str, Any]]:
    """Advance a new scheduler to the current position of a run.

    Args:
        optimizer: optimizer of the scheduler.
        scheduler: a new scheduler.
        steps: number of scheduler steps to make.

    Returns:
        The values that the scheduler sets, for each parameter group: the learning rate, and for some the momentum.
    """
    before = [dict(group) for group in optimizer.param_groups]
    changed = {"lr"}
    for _ in range(steps):
        scheduler.step()
        for old, group in zip(before, optimizer.param_groups, strict=True):
            changed |= {key for key in group if key not in ("params", *changed) and group[key] != old.get(key)}
    return [{key: group[key] for key in changed if key in group} for group in optimizer.param_groups]


def load_plateau(scheduler: ReduceLROnPlateau, saved: Mapping[str, Any], same_metric: bool) -> None:
    """Load the state of `ReduceLROnPlateau`.

    Args:
        scheduler: a new scheduler.
        saved: its state in the checkpoint.
        same_metric: whether the run still monitors the same metric in the same mode. Otherwise the scheduler keeps its
            own mode, and the best value and the number of bad epochs start anew.
    """
    own = {key: vars(scheduler)[key] for key in ("mode", "mode_worse", "best", "num_bad_epochs")}
    scheduler.load_state_dict({**saved, **({} if same_metric else own)})
