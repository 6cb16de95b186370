"""Running metrics that stay on the device until somebody reads them."""

from typing import Any, Literal

import torch
from torch import Tensor

from runner.machine.distributed import ALONE, World

Task = Literal["classification", "regression"]
MOST_NUMBERS, MOST_BATCHES = 1 << 20, 1 << 12  # that wait to be added up
NAMES: dict[Task, tuple[str, ...]] = {"classification": ("loss", "accuracy"), "regression": ("loss", "mae", "r2")}


class Metrics:
    """Means over all samples seen since the last reset, each sample counting the same.

    Classification has loss and accuracy. Regression has loss, and over all numbers of all targets the mean
    absolute error and the coefficient of determination.

    A batch is only remembered when it comes; many are added up together, in as many operations as one would take.

    Args:
        task: which of the two.
        device: where the sums are kept. Adding to them never waits for it; `compute` does.
        world: whose samples `compute` counts.
    """

    def __init__(self, task: Task, device: torch.device, world: World = ALONE) -> None:
        self.task, self.world = task, world
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.sums = torch.zeros(5, dtype=dtype, device=device)  # the loss, then as in `_settle`
        self.samples = 0
        self.numbers = 0  # in all targets together
        self._losses: list[Tensor] = []  # of the batches that wait to be added up
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._waiting = 0  # numbers in them

    def reset(self) -> None:
        self.sums.zero_()
        self.samples = self.numbers = 0
        self._forget()

    def update(self, loss: Tensor, outputs: Tensor, targets: Tensor) -> None:
        """Adds a batch: its loss summed over the samples, its outputs [B, F], its targets [B] or [B, F]."""
        self._losses.append(loss.detach())
        self._outputs.append(outputs.detach().clone())  # they may be a view of weights, or of something large
        self._targets.append(targets)
        self._waiting += outputs.numel() + targets.numel()
        if self._waiting > MOST_NUMBERS or len(self._losses) > MOST_BATCHES:
            self._settle()

    def _settle(self) -> None:
        """Adds up the batches that wait."""
        if not self._losses:
            return
        losses, outputs, targets = self._joined()
        self._forget()
        self.samples += len(outputs)
        self.numbers += targets.numel()
        self.sums[0] += losses.to(self.sums.dtype).sum()
        if self.task == "classification":
            self.sums[1] += (outputs.argmax(1) == targets).sum()
        else:
            exact = targets.to(self.sums.dtype)
            error = outputs.to(self.sums.dtype) - exact
            self.sums[1:] += torch.stack([error.abs().sum(), error.square().sum(), exact.sum(), exact.square().sum()])

    def _joined(self) -> tuple[Tensor, Tensor, Tensor]:
        """The batches that wait as one: their losses [N], all outputs, all targets."""
        return torch.stack(self._losses), torch.cat(self._outputs), torch.cat(self._targets)

    def _forget(self) -> None:
        self._losses, self._outputs, self._targets, self._waiting = [], [], [], 0

    def add(self, other: "Metrics") -> None:
        """Adds what another has summed."""
        self._settle()
        other._settle()
        self.sums += other.sums
        self.samples += other.samples
        self.numbers += other.numbers

    def compute(self) -> dict[str, float]:
        """Waits for the device; an empty dict when nothing was added."""
        self._settle()
        samples, numbers, loss, *sums = self.world.totals([self.samples, self.numbers, *self.sums.tolist()])
        if samples == 0:
            return {}
        if self.task == "classification":
            return {"loss": loss / samples, "accuracy": sums[0] / samples}
        absolute, squared, total, total_squares = sums
        spread = total_squares - total**2 / numbers
        r2 = 1 - squared / spread if spread > 0 else float(squared == 0)
        return {"loss": loss / samples, "mae": absolute / numbers, "r2": r2}

    def state_dict(self) -> dict[str, Any]:
        """The sums, and the batches that wait: added at another time they would give other last bits. On the CPU."""
        waiting = tuple(tensor.cpu() for tensor in self._joined()) if self._losses else None
        return {"sums": self.sums.clone().cpu(), "samples": self.samples, "numbers": self.numbers, "waiting": waiting}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.reset()
        self.sums.copy_(state["sums"])
        self.samples, self.numbers = state["samples"], state["numbers"]
        if state["waiting"] is not None:
            losses, outputs, targets = (tensor.to(self.sums.device) for tensor in state["waiting"])
            self._losses, self._outputs, self._targets = list(losses.unbind()), [outputs], [targets]
            self._waiting = outputs.numel() + targets.numel()
