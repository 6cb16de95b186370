"""The learning-rate schedule of a run: how long it is, and how a resumed run takes it up."""

from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from runner.config.schema import Config


def schedule_length(config: Config, batches_per_epoch: int) -> int:
    """Return how often the scheduler steps in the whole run: once a step or once an epoch."""
    steps = config.trainer.total_steps(batches_per_epoch)
    return (
        steps if config.scheduler.interval == "step" else -(-steps // config.trainer.steps_per_epoch(batches_per_epoch))
    )


def replay(optimizer: Optimizer, scheduler: LRScheduler, steps: int) -> list[dict[str, Any]]:
    """Step a new scheduler to where a run stands.

    Returns:
        For each parameter group the values that the schedule changed: the learning rate and, for some, momentum.
    """
    before = [dict(group) for group in optimizer.param_groups]
    changed = {"lr"}
    for _ in range(steps):
        scheduler.step()
        for old, group in zip(before, optimizer.param_groups, strict=True):
            changed |= {key for key in group if key not in ("params", *changed) and group[key] != old.get(key)}
    return [{key: group[key] for key in changed if key in group} for group in optimizer.param_groups]


def load_plateau(scheduler: ReduceLROnPlateau, saved: Mapping[str, Any], same_metric: bool) -> None:
    """Load the state of ReduceLROnPlateau.

    Args:
        scheduler: built from the config, whose mode counts.
        saved: its state in the checkpoint.
        same_metric: whether it watched the same metric in the same mode; otherwise its history is dropped.
    """
    own = {key: vars(scheduler)[key] for key in ("mode", "mode_worse", "best", "num_bad_epochs")}
    scheduler.load_state_dict({**saved, **({} if same_metric else own)})
