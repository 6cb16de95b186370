"""The entry point: `python -m runner`, and the console script `runner`."""

import io
import os
import sys


def main() -> int:
    """Run the command; return its exit code."""
    if sys.platform == "win32":
        print("error: runner needs Linux or macOS; on Windows run it in WSL", file=sys.stderr)
        return 2
    try:
        repair_streams()
        from runner.cli import main as command

        return flush(command())
    except KeyboardInterrupt:
        return 130


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
