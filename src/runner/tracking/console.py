"""Logging to the console, as text or as events, and with times and tracebacks to run.log."""

import logging
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from runner.tracking.events import Event, event, events

log = logging.getLogger("runner")
warnings_log = logging.getLogger("py.warnings")  # receives Python's warnings while they are captured


class RobustConsole(Console):
    """A console that stops printing after a broken pipe or on a full disk, while training continues."""

    def print(self, *objects: Any, event: Event | None = None, **style: Any) -> None:
        """Print text; with `--json`, write its event instead, if it has one.

        Args:
            objects: what to print.
            event: the same for programs.
            style: options of `rich.console.Console.print`.
        """
        if events.are_on:
            if event is not None and not self.quiet:
                events.write(event)
            return
        try:
            super().print(*objects, **style)
        except OSError as error:
            self.on_broken_pipe()
            with suppress(OSError):
                print(
                    f"warning: the output cannot be written: {error.strerror}; nothing more is printed", file=sys.stderr
                )

    def warn(self, message: str) -> None:
        """Print a warning."""
        self.print(f"warning: {message}", event=event("warning", message=message), style="yellow")

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


console = RobustConsole(highlight=False, markup=False, emoji=False, soft_wrap=True)


def pack(head: str, parts: Sequence[str], width: int = 80) -> list[str]:
    """Wrap parts into lines of at most `width` characters, aligned after `head`."""
    lines = [head + parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + 2 + len(part) <= width:
            lines[-1] += f"  {part}"
        else:
            lines.append(" " * len(head) + part)
    return lines


def wrapped(line: str, width: int) -> str:
    """Return a line, wrapped only where two spaces separate its parts, so that commands can be copied.

    Args:
        line: a label of nine characters, and parts.
        width: characters of a line.
    """
    parts = line[9:].lstrip()
    return line if len(line) <= width else "\n".join(pack(line.removesuffix(parts), parts.split("  "), width))


class ConsoleHandler(logging.Handler):
    """Print log messages through rich, so that they do not overwrite the progress bar, or write their events."""

    def emit(self, record: logging.LogRecord) -> None:
        message, known = record.getMessage(), getattr(record, "event", None)
        if record.levelno >= logging.WARNING:
            level = record.levelname.lower()
            text = f"{level}: " + message.replace("\n", "\n" + " " * len(f"{level}: "))
            console.print(text, event=known or event(level, message=message), style="yellow")
        else:
            if console.is_terminal:
                message = "\n".join(wrapped(line, console.width) for line in message.split("\n"))
            console.print(message, event=known)


class LogFile(logging.FileHandler):
    """A log file. If it cannot be written, warn once on the console; training continues."""

    def __init__(self, path: Path) -> None:
        # Paths that cannot be decoded contain surrogates, which UTF-8 cannot encode.
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self._works = True

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
        elif self._works:
            self._works = False
            path = relative(Path(self.baseFilename))
            console.warn(f"{path}: cannot be written: {error.strerror}")

    def close(self) -> None:
        with suppress(OSError):
            super().close()


def relative(path: Path) -> Path:
    """Return the path relative to the current directory if it is below it, or the path itself."""
    try:
        return path.relative_to(Path.cwd())
    except (OSError, ValueError):  # OSError: the current directory no longer exists
        return path


def in_shell(path: Path) -> str:
    """Return the path relative to the current directory, quoted for a command to be typed in a shell."""
    return shlex.quote(str(relative(path)))


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Log to the console and append to a file, including Python's warnings."""
    file = LogFile(path)
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handlers = [file, ConsoleHandler()]
    before = log.level, log.propagate
    log.setLevel(logging.INFO)
    log.propagate = False
    logging.captureWarnings(True)
    for handler in handlers:
        log.addHandler(handler)
        warnings_log.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            log.removeHandler(handler)
            warnings_log.removeHandler(handler)
            handler.close()
        logging.captureWarnings(False)
        log.propagate = before[1]
        log.setLevel(before[0])
