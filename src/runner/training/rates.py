"""Learning rates on the device, where a CUDA graph reads them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class Rates:
    """The learning rates of an optimizer as tensors; schedulers and checkpoints see numbers, as without a graph.

    Args:
        optimizer: optimizer whose steps are captured.
        device: device of its parameters.
    """

    def __init__(self, optimizer: Optimizer, device: torch.device) -> None:
        self.groups, self.is_captured = optimizer.param_groups, device.type == "cuda"
        dtype = torch.float32 if self.is_captured else torch.float64  # which the fused optimizers read
        self.tensors = [torch.zeros((), dtype=dtype, device=device) for _ in self.groups]
        self.values: list[float] = []
        self.constants = self._constants()
        for state in optimizer.state.values() if self.is_captured else ():
            if isinstance(state.get("step"), Tensor):  # on the CPU in the checkpoints of some optimizers
                state["step"] = state["step"].to(device)

    def update(self) -> list[str]:
        """Copy the current learning rates to the device, and return the other hyperparameters that have changed."""
        values = [group["lr"] for group in self.groups]
        if values != self.values:
            for tensor, value in zip(self.tensors, values, strict=True):
                tensor.fill_(value)
            self.values = values
        if (now := self._constants()) == self.constants:
            return []
        return sorted({key for a, b in zip(now, self.constants, strict=True) for key in a if a[key] != b.get(key)})

    @contextmanager
    def on_device(self) -> Iterator[None]:
        """Use the device tensors as learning rates within the context."""
        for group, tensor in zip(self.groups, self.tensors, strict=True):
            group["lr"] = tensor
            if "capturable" in group:
                group["capturable"] = self.is_captured or group["capturable"]
        yield
        for group, value, constants in zip(self.groups, self.values, self.constants, strict=True):
            group["lr"] = value
            if "capturable" in group:
                group["capturable"] = constants["capturable"]

    def _constants(self) -> list[dict[str, Any]]:
        """Return the hyperparameters of each parameter group, except for the learning rate."""
        return [{key: value for key, value in group.items() if key not in ("params", "lr")} for group in self.groups]
