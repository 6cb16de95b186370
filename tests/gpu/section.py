"""What the code of a section of the report is given: the device, the size, the time that is left, and a folder."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gpu.isolate import Failed, TookTooLong, call

T = TypeVar("T")
Row = dict[str, Any]  # of a table, by column; "result" is ok, or begins with failed, skipped or left out

LEAST = 3.0  # seconds without which nothing is begun


@dataclass(frozen=True)
class Section:
    """A section of the report while it is being made.

    Args:
        device: cuda, or cpu for a rehearsal.
        rehearses: whether everything is small, and on the CPU.
        ends: time.monotonic() at which the section has to end.
        folder: an empty folder for files.
        method: how processes begin: fork or spawn.
    """

    device: str
    rehearses: bool
    ends: float
    folder: Path
    method: str = "fork"

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.ends - time.monotonic()

    def pick(self, full: T, small: T) -> T:
        """Return the first value on a GPU, the second one in a rehearsal."""
        return small if self.rehearses else full

    def attempt(
        self, about: Row, function: Callable[..., Row], *arguments: Any, seconds: float = 60, optional: bool = False
    ) -> Row:
        """Call a function in a process of its own, and return a row with what it returns.

        Args:
            about: first columns of the row.
            function: function that returns further columns.
            arguments: its arguments.
            seconds: its time limit, if that much is left.
            optional: whether a failure is no fault, because the machine may lack what the function needs.
        """
        left = self.left
        if left < LEAST:
            return about | {"result": "skipped: the time of this section is over"}
        try:
            found: Row = call(function, *arguments, seconds=min(seconds, left), method=self.method)
            return {**about, "result": "ok", **found}
        except Failed as error:
            if isinstance(error, TookTooLong) and left < seconds:
                return about | {"result": f"skipped: {left:.0f} seconds of this section were left, and not enough"}
            return about | {"result": f"{'left out' if optional else 'failed'}: {error}", "trace": error.trace}
