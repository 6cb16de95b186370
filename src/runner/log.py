"""What a person reads: lines on the console, and the same lines with times and tracebacks in run.log."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

log = logging.getLogger("runner")
warned = logging.getLogger("py.warnings")  # where Python puts its warnings once they are captured


class LastingConsole(Console):
    """A console whose reader may leave, as `head` does: then nothing more is printed, and the training goes on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


console = LastingConsole(highlight=False, markup=False, emoji=False, soft_wrap=True)


class ConsoleHandler(logging.Handler):
    """Prints messages through rich, so that they and the progress bar do not overwrite each other."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            console.print(f"{record.levelname.lower()}: {record.getMessage()}", style="yellow")
        else:
            console.print(record.getMessage())


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Sends the log, Python's warnings included, to the console and to the end of a file."""
    file = logging.FileHandler(path, encoding="utf-8")
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
