"""Several optimizers in one, each for parameters of its own."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.optim import Optimizer


class Composite(Optimizer):
    """Several optimizers that are stepped, scheduled, saved and loaded as one.

    The parameter groups of all optimizers form one list, and their state one dictionary. Both are shared with the
    optimizers, so that a change here takes effect there. The state dict has the same format as that of one optimizer.

    Schedulers that cycle the momentum, such as `torch.optim.lr_scheduler.OneCycleLR`, set either `momentum` or `betas`
    in all groups. If only some of the optimizers have `momentum`, they set `momentum`, and before each step the others
    use it as their first beta.

    Args:
        optimizers: new optimizers without common parameters. None may need a closure, nor save more than `state` and
            `param_groups`.
        owners: for each parameter group of the combined list, the index of its optimizer. The groups of one optimizer
            keep their order.
    """

    def __init__(self, optimizers: Sequence[Optimizer], owners: Sequence[int]) -> None:
        remaining = [iter(optimizer.param_groups) for optimizer in optimizers]
        super().__init__([next(remaining[owner]) for owner in owners], {})
        self.optimizers, self.owners = tuple(optimizers), tuple(owners)
        for optimizer in optimizers:
            self.state.update(optimizer.state)  # some optimizers, such as Adagrad, start with a state
            optimizer.state = self.state
        keys = [optimizer.defaults.keys() for optimizer in optimizers]
        if all("betas" in each for each in keys):
            self.defaults["betas"] = optimizers[0].defaults["betas"]
        elif all(each & {"betas", "momentum"} for each in keys):
            self.defaults["momentum"] = next(o.defaults["momentum"] for o in optimizers if "momentum" in o.defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Pass on what `load_state_dict` has read to the optimizers, which may adapt it, and share it with them."""
        super().__setstate__(state)
        for index, optimizer in enumerate(self.optimizers):
            groups = [group for group, owner in zip(self.param_groups, self.owners, strict=True) if owner == index]
            own = {p: self.state[p] for group in groups for p in group["params"] if p in self.state}
            optimizer.__setstate__({"state": defaultdict(dict, own), "param_groups": groups})
            optimizer.state = self.state

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for optimizer in self.optimizers:
            if "momentum" not in optimizer.defaults:
                _use_momentum_as_beta(optimizer)
            optimizer.step()
        return loss


def _use_momentum_as_beta(optimizer: Optimizer) -> None:
    """Replace the first beta of each group in which a scheduler has set a momentum."""
    for group in optimizer.param_groups:
        if "momentum" in group and "betas" in group:
            group["betas"] = (group["momentum"], *group["betas"][1:])
