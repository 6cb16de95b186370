"""Keep freed memory in the process."""

import ctypes
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of mallopt(3)
NEVER = (1 << 31) - 1


def keep_freed_memory() -> None:
    """Let glibc keep the memory of freed tensors for those of the next step.

    By default, glibc returns large blocks to the system, which has to clear them before the next use. This takes up to
    a third of a step of a convolutional network on the CPU. Without glibc, nothing changes.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, NEVER)
