"""The events of runs and sweeps as JSON: one object per line on standard output, for programs that read them.

Whatever is reported to the user may carry an event. With `--json` the event is written, and the text is not.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

Event = dict[str, Any]


class Events:
    """Writes events, each flushed at once, so that a reader sees it without delay. Without a stream it writes nothing.

    If they cannot be written, training continues.
    """

    def __init__(self) -> None:
        self.stream: TextIO | None = None

    @property
    def are_on(self) -> bool:
        """Whether events are written in place of text."""
        return self.stream is not None

    def write(self, event: Event) -> None:
        """Write an event with the time; NaN and infinity become null."""
        if self.stream is None:
            return
        from runner.tracking.results import plain  # the commands import this module for `--help`, too

        time = datetime.now().astimezone().isoformat(timespec="milliseconds")
        line = json.dumps(plain({"event": event["event"], "time": time, **event}), default=str, allow_nan=False)
        try:
            self.stream.write(line + "\n")
            self.stream.flush()
        except OSError as error:
            with suppress(OSError, ValueError):  # ValueError: the stream is not a file
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())  # for what is left in its buffer
            self.stream = None
            with suppress(OSError):
                print(f"warning: the events cannot be written: {error.strerror}; no more follow", file=sys.stderr)

    @contextmanager
    def on_stdout(self) -> Iterator[None]:
        """Write events to standard output, and discard all that is printed there otherwise."""
        self.stream = sys.stdout
        try:
            with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
                yield
        finally:
            self.stream = None


events = Events()


def event(kind: str, **values: Any) -> Event:
    """Return an event, to report along with a text: `console.print(text, event=event("saved", step=3))`.

    Args:
        kind: what has happened; docs/events.md lists the kinds.
        values: what is known about it.
    """
    return {"event": kind, **values}


def logged(kind: str, **values: Any) -> dict[str, Event]:
    """Return an event, to log along with a message: `log.info(message, extra=logged("saved", step=3))`."""
    return {"event": event(kind, **values)}
