"""Compare recorded values with those that were computed again, bit for bit."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from runner.tracking.recorded import same

# Keys of a checkpoint that depend on the clock or on the folder; the config is compared on its own.
NOT_COMPARED = ("config", "seconds", "epoch_seconds", "data_seconds", "files", "timed_out")


@dataclass(frozen=True)
class ValueDifference:
    """A recorded value that differs from the one that was computed again.

    Args:
        step: step of the value; 0 for what a run is made of, such as its config.
        file: file in the run folder.
        name: name of the value, such as conv2.weight or train/loss.
        recorded: the recorded value; None if it is missing, or for tensors.
        found: the value now.
        largest: largest absolute difference; None for what is not a number.
    """

    step: int
    file: str
    name: str
    recorded: Any = None
    found: Any = None
    largest: float | None = None

    def __str__(self) -> str:
        if self.largest is not None:
            largest = f"{self.largest:.1g}".replace("e-0", "e-")
            return f"{self.name} in {self.file}, largest difference {largest}"
        return f"{self.name} in {self.file}: {as_text(self.recorded)} recorded, {as_text(self.found)} now"


class Mismatch(Exception):
    """What was trained again is not what was recorded.

    Args:
        differences: all differences that were found at the same place.
    """

    def __init__(self, differences: list[ValueDifference]) -> None:
        super().__init__(str(differences[0]))
        self.differences = differences


def raise_if_any(differences: Iterable[ValueDifference]) -> None:
    """Raise Mismatch if there are differences."""
    if found := list(differences):
        raise Mismatch(found)


def as_text(value: Any) -> str:
    """Return a value as text, `nothing` for a missing one."""
    return "nothing" if value is None else str(value)


def compare_checkpoints(file: str, recorded: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[ValueDifference]:
    """Yield the differences of two checkpoints, apart from timings.

    Args:
        file: name of the recorded one.
        recorded: contents of the recorded one.
        found: contents of the other one.
    """
    for key in recorded:
        unknown = key in ("data", "samples", "total_steps") and recorded[key] is None  # in a file of an earlier version
        if key not in NOT_COMPARED and not unknown:
            yield from compare(recorded["step"], file, "" if key == "model" else key, recorded[key], found.get(key))


def compare(step: int, file: str, name: str, recorded: Any, found: Any) -> Iterator[ValueDifference]:
    """Yield the differences of two values, which may be nested, with dotted names."""
    if isinstance(recorded, Mapping) and isinstance(found, Mapping):
        for key in dict.fromkeys([*recorded, *found]):
            yield from compare(step, file, join(name, key), recorded.get(key), found.get(key))
    elif is_list(recorded) and is_list(found) and len(recorded) == len(found):
        for index, (one, other) in enumerate(zip(recorded, found, strict=True)):
            yield from compare(step, file, join(name, index), one, other)
    elif isinstance(recorded, Tensor) and isinstance(found, Tensor):
        yield from compare_tensors(ValueDifference(step, file, name), recorded.cpu(), found.detach().cpu())
    elif is_number(recorded) and is_number(found):
        if not same(recorded, found):
            yield ValueDifference(step, file, name, recorded, found, abs(recorded - found))
    elif type(recorded) is not type(found) or recorded != found:
        yield ValueDifference(step, file, name, brief(recorded), brief(found))


def compare_tensors(where: ValueDifference, recorded: Tensor, found: Tensor) -> Iterator[ValueDifference]:
    """Yield the difference of two tensors, if they are not equal bit for bit."""
    if (recorded.dtype, recorded.shape) != (found.dtype, found.shape):
        yield ValueDifference(where.step, where.file, where.name, brief(recorded), brief(found))
    elif not torch.equal(as_bytes(recorded), as_bytes(found)):
        kind = torch.complex128 if recorded.is_complex() else torch.float64
        largest = (recorded.to(kind) - found.to(kind)).abs().max().item()
        yield ValueDifference(where.step, where.file, where.name, largest=largest)


def as_bytes(tensor: Tensor) -> Tensor:
    """Return the bytes of a tensor [N], in which -0.0 is not 0.0, and NaN equals itself."""
    return tensor.contiguous().flatten().view(torch.uint8)


def is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def join(name: str, key: object) -> str:
    return f"{name}.{key}" if name else str(key)


def brief(value: Any) -> Any:
    """Return a value as JSON can hold it; of a tensor, its type and shape."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return value if value is None or isinstance(value, str | int | float) else str(value)
