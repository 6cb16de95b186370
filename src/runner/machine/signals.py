"""Stop on a signal: the loop finishes the current step, saves and exits."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # avoids importing torch in the driver of a sweep
    from runner.machine.distributed import World

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

    Unless `can_wait` is set, they also raise KeyboardInterrupt, because libraries do not catch it as they do errors.

    Args:
        also: further signals that do the same.
        world: processes that must stop after the same step; `requested` is then set by `agree`.
    """

    def __init__(self, *also: signal.Signals, world: "World | None" = None) -> None:
        self.signals = (*SIGNALS, *also)
        self.world = world if world is not None and world.size > 1 else None
        self._heard: signal.Signals | None = None  # received by this process
        self._agreed: signal.Signals | None = None  # agreed with the other ranks
        self.times = 0  # number of requests
        self._last = -SAME_REQUEST
        self.can_wait = False  # set while the loop checks `requested` after each step
        self._before: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> signal.Signals | None:
        """The received signal, or None. With several processes, it is set only after all of them have agreed."""
        return self._heard if self.world is None or not self.can_wait else self._agreed

    def agree(self) -> None:
        """Agree to stop if any rank has received a signal. All ranks call this after the same step."""
        if self.world is not None and self.world.any(self._heard is not None):
            self._agreed = self._heard or signal.SIGTERM

    def alone(self) -> None:
        """Stop without agreement from now on, because the other ranks have finished."""
        self.world = None

    @property
    def cut_short(self) -> bool:
        """Whether a signal has raised KeyboardInterrupt, which other code may have turned into another error."""
        return self._heard is not None and not self.can_wait

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
        first, now = self._heard is None, time.monotonic()
        if now - self._last > SAME_REQUEST:
            self.times, self._last = self.times + 1, now
        self._heard = self._heard or signal.Signals(number)
        if first and not self.can_wait:
            raise KeyboardInterrupt(self._heard.name)
