"""Stop on a signal: the loop finishes the current step, saves and exits."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
SAME_REQUEST = 0.25  # seconds within which signals count once: Ctrl-C may arrive from the terminal and the launcher


@contextmanager
def deferred(number: signal.Signals) -> Iterator[None]:
    """Hold a signal back until the end of the block; processes that start within it hold it back as well."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Stop:
    """A context in which SIGINT, SIGTERM and SIGUSR1 set `requested`.

    Unless `can_wait` is set, the first one also raises KeyboardInterrupt, which `except Exception` does not catch.

    Args:
        also: further signals that do the same.
        ranks: world size; several ranks must stop after the same step, so `requested` is set by `agree`.
    """

    def __init__(self, *also: signal.Signals, ranks: int = 1) -> None:
        self.signals = (*SIGNALS, *also)
        self.must_agree = ranks > 1
        self.received: signal.Signals | None = None  # the first one, in this process
        self._agreed: signal.Signals | None = None  # agreed with the other ranks
        self.requests = 0  # number of signals; those within SAME_REQUEST count once
        self._last = -SAME_REQUEST
        self.can_wait = False  # set while the loop checks `requested` after each step
        self._before: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> signal.Signals | None:
        """The received signal, or None. With several processes, it is set only after all of them have agreed."""
        return self._agreed if self.must_agree and self.can_wait else self.received

    def agree(self, stops: bool) -> None:
        """Set whether any rank has received a signal. All ranks call this after the same step."""
        if stops:
            self._agreed = self.received or signal.SIGTERM

    def stop_agreeing(self) -> None:
        """Stop without agreement from now on, because the other ranks have finished."""
        self.must_agree = False

    @property
    def cut_short(self) -> bool:
        """Whether a signal has raised KeyboardInterrupt, which other code may have turned into another error."""
        return self.received is not None and not self.can_wait

    @property
    def exit_code(self) -> int:
        """130 for SIGINT, 143 for the other signals."""
        return 130 if self.requested == signal.SIGINT else 143

    def __enter__(self) -> "Stop":
        self._before = {number: signal.signal(number, self._request) for number in self.signals}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def pass_on(self) -> None:
        """Raise the signal again, for the handler that was installed before. Call this after leaving the context."""
        if self.requested is not None:
            signal.raise_signal(self.requested)

    def _request(self, number: int, frame: FrameType | None) -> None:
        first, now = self.received is None, time.monotonic()
        if now - self._last > SAME_REQUEST:
            self.requests, self._last = self.requests + 1, now
        self.received = self.received or signal.Signals(number)
        if first and not self.can_wait:
            raise KeyboardInterrupt(self.received.name)
