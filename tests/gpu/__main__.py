"""The entry point of `make gpu`."""

import importlib
import importlib.util
import sys


def main() -> int:
    """Make the report, if this Python has PyTorch, and return the exit code."""
    if importlib.util.find_spec("torch") is None:
        print(f"make gpu: {sys.executable} has no torch; GPU_PYTHON=... chooses another Python", file=sys.stderr)
        return 2
    code: int = importlib.import_module("gpu.make_report").main()
    return code


if __name__ == "__main__":
    sys.exit(main())
