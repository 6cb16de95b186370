"""Labels in a profile, made when there is a profile.

torch's optimizers and data loaders label each of their calls for a profiler, which takes 5 microseconds also when none
listens: a tenth of a step of a small model.
"""

from typing import Any

import torch
from torch.autograd import profiler

TORCHS = profiler.record_function
profiling = torch.autograd._profiler_enabled  # type: ignore[attr-defined]


class _Label(TORCHS):
    """Does nothing unless a profiler listens when it is entered."""

    def __enter__(self) -> "_Label":
        if profiling():
            super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *details: Any) -> None:
        if self.record is not None:
            super().__exit__(*details)
            self.record = None


def label_when_profiled() -> None:
    """Has torch use such labels."""
    profiler.record_function = _Label  # type: ignore[misc]


def label_always() -> None:
    """Has torch use its own ones again."""
    profiler.record_function = TORCHS  # type: ignore[misc]
