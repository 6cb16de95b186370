"""The door: `python -m runner`, and the console script `runner`."""

import sys

from runner.imports import uncollected


def main() -> int:
    """Runs the command; returns its exit code."""
    if {"-m", "--multirun"} & {*sys.argv[1:]} and not {"--cfg", "-c", "--help", "--hydra-help"} & {*sys.argv[1:]}:
        from runner.sweep import server

        server.start()  # it imports torch while Hydra is imported and composes here

    with uncollected():
        from runner.cli import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
