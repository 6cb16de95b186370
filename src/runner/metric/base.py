"""The interfaces of metrics."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Metric(Protocol):
    """A metric that keeps any state. A user registers such a class with `METRICS.register`.

    With several processes or `trainer.shards`, it also needs a method `merge(states)`, which loads the states of
    several shards (a list of what `state_dict` returns) as if one metric had seen all their samples.
    """

    def reset(self) -> None:
        """Discard all samples."""
        ...

    def update(self, outputs: Any, targets: Any) -> None:
        """Add a batch.

        Args:
            outputs: outputs of the model, on the device.
            targets: targets of the batch, on the device.
        """
        ...

    def compute(self) -> float | Mapping[str, float]:
        """Return the metric over all samples since the last reset, or several by name."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain types and tensors, for a checkpoint."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the state."""
        ...


class SumMetric:
    """A metric that is a function of sums over the samples.

    The runner keeps the sums, adds them up over micro-batches and processes, and does not wait for the device before
    the value is needed.

    Attributes:
        size: number of sums.
    """

    size: int

    def terms(self, outputs: Any, targets: Any) -> Sequence[Tensor | int]:
        """Return what a batch adds to each sum: tensors [] on the device, or counts as ints."""
        raise NotImplementedError

    def value(self, sums: Sequence[float]) -> float:
        """Return the metric for the sums over at least one sample."""
        raise NotImplementedError
