"""Running metrics that stay on the device until somebody reads them."""

from typing import Any, Literal

import torch
from torch import Tensor

Task = Literal["classification", "regression"]
NAMES: dict[Task, tuple[str, ...]] = {"classification": ("loss", "accuracy"), "regression": ("loss", "mae", "r2")}


class Metrics:
    """Means over all samples seen since the last reset, each sample counting the same.

    Classification has loss and accuracy. Regression has loss, and over all numbers of all targets the mean
    absolute error and the coefficient of determination.

    Args:
        task: which of the two.
        device: where the sums are kept. Adding to them never waits for it; `compute` does.
    """

    def __init__(self, task: Task, device: torch.device) -> None:
        self.task = task
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.sums = torch.zeros(5, dtype=dtype, device=device)  # the loss, then as in `update`
        self.samples = 0
        self.numbers = 0  # in all targets together

    def reset(self) -> None:
        self.sums.zero_()
        self.samples = self.numbers = 0

    def update(self, loss: Tensor, outputs: Tensor, targets: Tensor) -> None:
        """Adds a batch: its loss summed over the samples, its outputs [B, F], its targets [B] or [B, F]."""
        self.samples += len(outputs)
        self.numbers += targets.numel()
        self.sums[0] += loss.detach()
        outputs = outputs.detach()
        if self.task == "classification":
            self.sums[1] += (outputs.argmax(1) == targets).sum()
        else:
            exact = targets.to(self.sums.dtype)
            error = outputs.to(self.sums.dtype) - exact
            self.sums[1:] += torch.stack([error.abs().sum(), error.square().sum(), exact.sum(), exact.square().sum()])

    def add(self, other: "Metrics") -> None:
        """Adds what another has summed."""
        self.sums += other.sums
        self.samples += other.samples
        self.numbers += other.numbers

    def compute(self) -> dict[str, float]:
        """Waits for the device; an empty dict when nothing was added."""
        if self.samples == 0:
            return {}
        loss, *sums = self.sums.tolist()
        if self.task == "classification":
            return {"loss": loss / self.samples, "accuracy": sums[0] / self.samples}
        absolute, squared, total, total_squares = sums
        spread = total_squares - total**2 / self.numbers
        r2 = 1 - squared / spread if spread > 0 else float(squared == 0)
        return {"loss": loss / self.samples, "mae": absolute / self.numbers, "r2": r2}

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self.sums.clone(), "samples": self.samples, "numbers": self.numbers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sums.copy_(state["sums"])
        self.samples, self.numbers = state["samples"], state["numbers"]
