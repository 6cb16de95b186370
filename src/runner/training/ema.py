"""Exponential moving average (EMA) of a model's weights."""

import copy
from typing import Any

import torch
from torch import Tensor, nn


class MovingAverage:
    """A copy of the model with averaged weights: average = decay * average + (1 - decay) * weights.

    `torch.optim.swa_utils.AveragedModel` computes the same, but counts updates in a tensor, so that each update waits
    for the accelerator. On the CPU it takes twice as long.

    Args:
        model: model to average; the first update copies its weights.
        decay: factor of the previous average at each update.

    Source:
        Polyak and Juditsky 1992, "Acceleration of Stochastic Approximation by Averaging".
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(model).requires_grad_(False)
        self.decay, self.updates = decay, 0
        for module in self.module.modules():
            if isinstance(module, nn.RNNBase):
                module.flatten_parameters()  # cuDNN takes weights in one block of memory, which the copy's are not

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Update the average with the model's current weights.

        Buffers, such as the running statistics of batch normalization, and integer parameters are copied.
        """
        share = 1.0 if self.updates == 0 else 1 - self.decay
        pairs: list[tuple[Tensor, Tensor]] = list(zip(self.module.parameters(), model.parameters(), strict=True))
        averaged = [pair for pair in pairs if pair[0].is_floating_point() or pair[0].is_complex()]
        taken = [pair for pair in pairs if not (pair[0].is_floating_point() or pair[0].is_complex())]
        taken += zip(self.module.buffers(), model.buffers(), strict=True)
        torch._foreach_lerp_([own for own, _ in averaged], [its for _, its in averaged], share)
        for dtype in dict.fromkeys(own.dtype for own, _ in taken):  # one kernel launch per dtype, not per tensor
            same = [(own, its) for own, its in taken if own.dtype == dtype]
            torch._foreach_copy_([own for own, _ in same], [its for _, its in same])
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        return {"module": self.module.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        self.updates = state["updates"]
