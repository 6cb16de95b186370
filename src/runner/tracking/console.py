"""What a person reads: lines on the console, and the same lines with times and tracebacks in run.log."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

log = logging.getLogger("runner")
warned = logging.getLogger("py.warnings")  # where Python puts its warnings once they are captured


class LastingConsole(Console):
    """A console that may be lost: then nothing more is printed, and the training goes on.

    Its reader leaves, as `head` does; or the file that it prints into cannot be written, because a disk is full.
    """

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


console = LastingConsole(highlight=False, markup=False, emoji=False, soft_wrap=True)


class ConsoleHandler(logging.Handler):
    """Prints messages through rich, so that they and the progress bar do not overwrite each other."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            level = f"{record.levelname.lower()}: "
            console.print(level + record.getMessage().replace("\n", "\n" + " " * len(level)), style="yellow")
        else:
            console.print(record.getMessage())


class LogFile(logging.FileHandler):
    """A file of messages. When it cannot be written, one line on the console says so, and the training goes on."""

    def __init__(self, path: Path) -> None:
        # A path whose bytes are not of the locale's encoding holds surrogates, which UTF-8 cannot write.
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self._works = True

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
        elif self._works:
            self._works = False
            where = relative(Path(self.baseFilename))
            console.print(f"warning: {where}: cannot be written: {error.strerror}", style="yellow")

    def close(self) -> None:
        with suppress(OSError):
            super().close()


def relative(path: Path) -> Path:
    """Return the path from the current directory, where it lies below that; else the path itself."""
    try:
        return path.relative_to(Path.cwd())
    except (OSError, ValueError):  # the current directory may be gone
        return path


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Sends the log, Python's warnings included, to the console and to the end of a file."""
    file = LogFile(path)
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handlers = [file, ConsoleHandler()]
    before = log.level, log.propagate
    log.setLevel(logging.INFO)
    log.propagate = False
    logging.captureWarnings(True)
    for handler in handlers:
        log.addHandler(handler)
        warned.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            log.removeHandler(handler)
            warned.removeHandler(handler)
            handler.close()
        logging.captureWarnings(False)
        log.propagate = before[1]
        log.setLevel(before[0])
