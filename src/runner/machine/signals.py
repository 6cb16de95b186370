"""A signal asks the run to stop; the loop finishes the step in hand, saves and leaves."""

import signal
import time
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the driver of a sweep does without torch
    from runner.machine.distributed import World

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
TOLD_TWICE = 0.25  # seconds within which two signals are one request: from the terminal, and from who started us


class Stop:
    """While entered, SIGINT, SIGTERM and SIGUSR1 set `requested`; unless `can_wait` is set they raise too.

    What they raise is KeyboardInterrupt, which no library takes for a fault.

    Args:
        also: another signal that does.
        world: processes that are to stop after the same step: `requested` is set when they `agree`.
    """

    def __init__(self, *also: signal.Signals, world: "World | None" = None) -> None:
        self.signals = (*SIGNALS, *also)
        self.world = world if world is not None and world.size > 1 else None
        self._heard: signal.Signals | None = None  # by this process
        self._agreed: signal.Signals | None = None  # with the others of the world
        self.times = 0  # how often it was requested
        self._last = -TOLD_TWICE
        self.can_wait = False  # the loop looks at `requested` after each step
        self._before: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> signal.Signals | None:
        """The signal, once it counts."""
        return self._heard if self.world is None or not self.can_wait else self._agreed

    def agree(self) -> None:
        """Called by all processes after the same step: all stop when one of them was signalled."""
        if self.world is not None and self.world.any(self._heard is not None):
            self._agreed = self._heard or signal.SIGTERM

    def alone(self) -> None:
        """From now on nobody has to agree: the other processes are done."""
        self.world = None

    @property
    def cut_short(self) -> bool:
        """Whether a signal raised: the code that it fell into may have made an error of its own of it."""
        return self._heard is not None and not self.can_wait

    @property
    def exit_code(self) -> int:
        """130 for SIGINT, else 143: a request to end, or a preemption."""
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
        """Afterwards: lets who handled the signal before, if it came, have it too."""
        if self.requested is not None:
            signal.raise_signal(self.requested)

    def _request(self, number: int, frame: FrameType | None) -> None:
        first, now = self._heard is None, time.monotonic()
        if now - self._last > TOLD_TWICE:
            self.times, self._last = self.times + 1, now
        self._heard = self._heard or signal.Signals(number)
        if first and not self.can_wait:
            raise KeyboardInterrupt(self._heard.name)
