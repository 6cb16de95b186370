"""A signal asks the run to stop; the loop finishes the step in hand, saves and leaves."""

import signal
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Stopped(BaseException):
    """Raised by a signal while there is nothing to save: not an Exception, so that nothing takes it for a fault."""


class Stop:
    """While entered, SIGINT, SIGTERM and SIGUSR1 set `requested`; unless `can_wait` is set they also raise Stopped."""

    def __init__(self) -> None:
        self.requested: signal.Signals | None = None
        self.times = 0  # how often it was requested
        self.can_wait = False  # the loop looks at `requested` after each step
        self._before: dict[signal.Signals, Any] = {}

    @property
    def cut_short(self) -> bool:
        """Whether Stopped was raised: the code it fell into may have made an error of its own of it."""
        return self.requested is not None and not self.can_wait

    @property
    def exit_code(self) -> int:
        """130 for SIGINT, else 143: a request to end, or a preemption."""
        return 130 if self.requested == signal.SIGINT else 143

    def __enter__(self) -> "Stop":
        self._before = {number: signal.signal(number, self._request) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        first = self.requested is None
        self.times += 1
        self.requested = self.requested or signal.Signals(number)
        if first and not self.can_wait:
            raise Stopped(self.requested.name)
