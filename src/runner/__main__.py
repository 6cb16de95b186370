"""The entry point: `python -m runner`, and the console script `runner`."""

import io
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress

MULTIRUN = {"-m", "--multirun"}
SWEEPING = MULTIRUN | {"--json", "--config-dir", "-cd", "--config-name", "-cn"}  # the flags of a command that trains


def main() -> int:
    """Run the command; return its exit code."""
    if sys.platform == "win32":
        print("error: runner needs Linux or macOS; on Windows run it in WSL", file=sys.stderr)
        return 2
    try:
        repair_streams()
        start_ahead(sys.argv[1:])
        from runner.cli import main as command

        return leave(flush(command()))
    except KeyboardInterrupt:
        return leave(130)
    except Exception:
        traceback.print_exc()
        return leave(1)


def start_ahead(arguments: Sequence[str]) -> None:
    """For a sweep, start the fork server: it imports torch while this process imports Hydra and composes the jobs.

    Without this call, the server starts a third of a second later.

    Args:
        arguments: command-line arguments.
    """
    flags = {text.partition("=")[0] for text in arguments if text.startswith("-")}
    if flags & MULTIRUN and flags <= SWEEPING:
        from runner.sweep.execution import server

        with suppress(OSError):  # reported when the server is needed
            server.start()


def leave(code: int) -> int:
    """Return the exit code; as one of several processes, end at once after a failure.

    The usual end of a Python process would wait for the other ranks of the process group.
    """
    from runner.machine.ranks import world_size

    if code != 0 and world_size() > 1:
        flush(code)
        sys.stderr.flush()
        os._exit(code)
    return code


def repair_streams() -> None:
    """Replace closed standard streams by the null device, and let standard output print any character."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # or the next file opened would become such a stream
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for characters that the terminal cannot show


def flush(code: int) -> int:
    """Flush standard output; return the exit code, or 1 instead of 0 if that fails."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left in the buffer
        if not isinstance(error, BrokenPipeError):  # a reader that stops early, such as `head`
            print(f"error: standard output cannot be written: {error.strerror}", file=sys.stderr)
        return code or 1
    return code


if __name__ == "__main__":
    sys.exit(main())
