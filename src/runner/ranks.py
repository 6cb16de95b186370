"""What torchrun told this process of its place among the others, in its environment; without torch."""

import os


def world_size() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_leader() -> bool:
    """Whether this one speaks for all: the first of them, or the only one."""
    return world_size() == 1 or os.environ.get("RANK", "0") == "0"


def local_rank() -> int:
    """The place of this process among those on its machine, from 0 on."""
    return int(os.environ.get("LOCAL_RANK", "0")) if world_size() > 1 else 0


def local_size() -> int:
    """How many of them are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world_size()))
