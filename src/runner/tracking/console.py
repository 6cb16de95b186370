"""Logging to the console and, with times and tracebacks, to run.log."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

log = logging.getLogger("runner")
warnings_log = logging.getLogger("py.warnings")  # receives Python's warnings while they are captured


class RobustConsole(Console):
    """A console that stops printing after a broken pipe or on a full disk, while training continues."""

    def print(self, *objects: Any, **style: Any) -> None:
        try:
            super().print(*objects, **style)
        except OSError as error:
            self.on_broken_pipe()
            with suppress(OSError):
                print(
                    f"warning: the output cannot be written: {error.strerror}; nothing more is printed", file=sys.stderr
                )

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


console = RobustConsole(highlight=False, markup=False, emoji=False, soft_wrap=True)


class ConsoleHandler(logging.Handler):
    """Print log messages through rich, so that they do not overwrite the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            level = f"{record.levelname.lower()}: "
            console.print(level + record.getMessage().replace("\n", "\n" + " " * len(level)), style="yellow")
        else:
            console.print(record.getMessage())


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
            console.print(f"warning: {path}: cannot be written: {error.strerror}", style="yellow")

    def close(self) -> None:
        with suppress(OSError):
            super().close()


def relative(path: Path) -> Path:
    """Return the path relative to the current directory if it is below it, or the path itself."""
    try:
        return path.relative_to(Path.cwd())
    except (OSError, ValueError):  # OSError: the current directory no longer exists
        return path


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
