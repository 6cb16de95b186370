"""What torchrun told this process of its place among the others, in its environment; without torch."""

import os

from runner.errors import ConfigError

NEEDED = ("WORLD_SIZE", "RANK", "MASTER_ADDR")  # without all of them it is a leftover of another launcher


def world_size() -> int:
    """Return how many processes train together.

    Raises:
        ConfigError: an environment variable is no number.
    """
    return _number("WORLD_SIZE", 1) if all(os.environ.get(name) for name in NEEDED) else 1


def is_leader() -> bool:
    """Return whether this process speaks for all: the first of them, or the only one."""
    return world_size() == 1 or _number("RANK", 0) == 0


def local_rank() -> int:
    """Return the place of this process among those on its machine, from 0 on."""
    return _number("LOCAL_RANK", 0) if world_size() > 1 else 0


def local_size() -> int:
    """Return how many of the processes are on this machine."""
    size = world_size()
    return _number("LOCAL_WORLD_SIZE", size) if size > 1 else 1


def _number(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.strip().isdecimal():
        raise ConfigError(f"{name}: found {text!r} in the environment; expected a number, as torchrun sets it")
    return int(text)
