"""The exponential moving average of a model's weights."""

import copy
from typing import Any

import torch
from torch import nn


class MovingAverage:
    """A copy of the model with average = decay * average + (1 - decay) * weights (Polyak and Juditsky 1992).

    torch's own AveragedModel counts its updates in a tensor, which an accelerator would be waited for in each step.

    Args:
        model: whose weights are averaged; the first update takes them as they are.
        decay: how much of the average stays at each update.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(model).requires_grad_(False)
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """A step has changed the model; what is no weight, such as the statistics of batch
        normalisation, is taken as it is."""
        share = 1.0 if self.updates == 0 else 1 - self.decay
        pairs = list(zip(self.module.parameters(), model.parameters(), strict=True))
        taken = [pair for pair in pairs if not (pair[0].is_floating_point() or pair[0].is_complex())]
        averaged = [pair for pair in pairs if pair[0].is_floating_point() or pair[0].is_complex()]
        torch._foreach_lerp_([own for own, _ in averaged], [its for _, its in averaged], share)
        for own, its in [*taken, *zip(self.module.buffers(), model.buffers(), strict=True)]:
            own.copy_(its)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        return {"module": self.module.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        self.updates = state["updates"]
