"""Labels in a profile, made when there is a profile.

torch's optimizers and data loaders label each of their calls for a profiler, which takes 5 microseconds also when none
listens: a tenth of a step of a small model.
"""

from typing import Any

import torch
from torch.autograd import profiler

profiling = torch.autograd._profiler_enabled  # type: ignore[attr-defined]


class _Label(profiler.record_function):
    """Does nothing unless a profiler listens when it is made."""

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name, self.args, self.record = name, args, None
        self._listens = profiling()
        if self._listens:
            super().__init__(name, args)

    def __enter__(self) -> "_Label":
        if self._listens:
            super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *details: Any) -> None:
        if self._listens:
            super().__exit__(*details)


def label_when_profiled() -> None:
    """Has torch use such labels."""
    profiler.record_function = _Label  # type: ignore[misc]
