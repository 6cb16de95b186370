"""Running metrics that stay on the device until they are computed."""

from typing import Any, Literal

import torch
from torch import Tensor

from runner.machine.distributed import ALONE, World

Task = Literal["classification", "regression"]
MOST_NUMBERS, MOST_BATCHES = 1 << 20, 1 << 12  # values and batches to store before they are added to the sums
NAMES: dict[Task, tuple[str, ...]] = {"classification": ("loss", "accuracy"), "regression": ("loss", "mae", "r2")}


class Metrics:
    """Metrics over all samples since the last reset; all samples have the same weight, whatever the batch sizes.

    For classification, these are the loss and the accuracy. For regression, these are the loss, the mean absolute error
    (mae) and the coefficient of determination (r2), the latter two over all values of all targets.

    `update` only stores a batch. Many stored batches are added to the sums at once, in as few operations as a single
    one would need.

    Args:
        task: classification or regression.
        device: device of the sums. `update` does not wait for it; `compute` does.
        world: processes over whose samples `compute` takes the metrics.
    """

    def __init__(self, task: Task, device: torch.device, world: World = ALONE) -> None:
        self.task, self.world = task, world
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.sums = torch.zeros(5, dtype=dtype, device=device)  # of the losses, then those listed in `_settle`
        self.samples = 0
        self.numbers = 0  # values in all targets
        self._losses: list[Tensor] = []  # of the stored batches
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._waiting = 0  # values in the stored outputs and targets

    def reset(self) -> None:
        """Discard all samples."""
        self.sums.zero_()
        self.samples = self.numbers = 0
        self._forget()

    def update(self, loss: Tensor, outputs: Tensor, targets: Tensor) -> None:
        """Store a batch.

        Args:
            loss: loss, summed over the samples.
            outputs: outputs [B, F].
            targets: targets [B] or [B, F].
        """
        self._losses.append(loss.detach())
        self._outputs.append(outputs.detach().clone())  # may be a view of weights that change, or of a large tensor
        self._targets.append(targets)
        self._waiting += outputs.numel() + targets.numel()
        if self._waiting > MOST_NUMBERS or len(self._losses) > MOST_BATCHES:
            self._settle()

    def _settle(self) -> None:
        """Add the stored batches to the sums."""
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
        """Return the losses, the outputs and the targets of all stored batches, each as one tensor."""
        return torch.stack(self._losses), torch.cat(self._outputs), torch.cat(self._targets)

    def _forget(self) -> None:
        """Discard the stored batches."""
        self._losses, self._outputs, self._targets, self._waiting = [], [], [], 0

    def add(self, other: "Metrics") -> None:
        """Add the samples of other metrics."""
        self._settle()
        other._settle()
        self.sums += other.sums
        self.samples += other.samples
        self.numbers += other.numbers

    def compute(self) -> dict[str, float]:
        """Return the metrics by name, over the samples of all processes; an empty dict if there are none.

        This waits for the device. All ranks must call it.
        """
        self._settle()
        samples, numbers, loss, *sums = self.world.totals([self.samples, self.numbers, *self.sums.tolist()])
        if samples == 0:
            return {}
        if self.task == "classification":
            return {"loss": loss / samples, "accuracy": sums[0] / samples}
        absolute, squared, total, total_squares = sums
        spread = total_squares - total**2 / numbers
        r2 = 1 - squared / spread if spread > 0 else float(squared == 0)  # constant targets: 1 if predicted exactly
        return {"loss": loss / samples, "mae": absolute / numbers, "r2": r2}

    def state_dict(self) -> dict[str, Any]:
        """Return the sums and the stored batches, on the CPU.

        The batches are saved as they are: if they were added to the sums earlier than in an undisturbed run, the sums
        would be rounded differently.
        """
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
