"""Read rank and world size from the environment variables of torchrun, without importing torch."""

import os

from runner.errors import ConfigError

NEEDED = ("WORLD_SIZE", "RANK", "MASTER_ADDR")  # all must be set, because other launchers set some of them


def world_size() -> int:
    """Return the world size.

    Raises:
        ConfigError: an environment variable is not a number.
    """
    return _number("WORLD_SIZE", 1) if all(os.environ.get(name) for name in NEEDED) else 1


def is_elastic() -> bool:
    """Return whether torchrun has started this process and restarts it if a process fails."""
    return world_size() > 1 and _number("TORCHELASTIC_MAX_RESTARTS", 0) > 0


def is_leader() -> bool:
    """Return whether this is rank 0, or the only process."""
    return rank() == 0


def rank() -> int:
    """Return the rank of this process; 0 for the only process."""
    return _number("RANK", 0) if world_size() > 1 else 0


def local_rank() -> int:
    """Return the rank of this process on its machine."""
    return _number("LOCAL_RANK", 0) if world_size() > 1 else 0


def local_size() -> int:
    """Return the number of processes on this machine."""
    size = world_size()
    return _number("LOCAL_WORLD_SIZE", size) if size > 1 else 1


def _number(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.strip().isdecimal():
        raise ConfigError(f"{name}: found {text!r} in the environment; expected a number, as torchrun sets it")
    return int(text)
