"""The door: `python -m runner`, and the console script `runner`."""

import io
import os
import sys

from runner.speed.imports import uncollected


def main() -> int:
    """Runs the command; returns its exit code."""
    if sys.platform == "win32":
        print("error: runner needs Linux or macOS; on Windows run it in WSL", file=sys.stderr)
        return 2
    try:
        keep_the_streams()
        return flushed(run())
    except KeyboardInterrupt:
        return 130


def flushed(code: int) -> int:
    """Writes what was printed; returns the exit code, 1 where standard output cannot be written."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in its buffer goes nowhere
        if not isinstance(error, BrokenPipeError):  # the reader has left, as `head` does
            print(f"error: standard output cannot be written: {error.strerror}", file=sys.stderr)
        return code or 1
    return code


def keep_the_streams() -> None:
    """Gives the program streams to nowhere for those that it was started without: else its next files would be them."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a character that the terminal cannot show ends no command
        sys.stdout.reconfigure(errors="backslashreplace")


def run() -> int:
    """Imports what the command needs, and runs it."""
    if {"-m", "--multirun"} & {*sys.argv[1:]} and not {"--cfg", "-c", "--help", "--hydra-help"} & {*sys.argv[1:]}:
        from runner.sweep import server

        server.start()  # it imports torch while Hydra is imported and composes here

    with uncollected():
        from runner.cli import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
