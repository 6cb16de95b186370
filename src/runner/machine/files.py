"""Write files atomically, and lock them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOENT
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock


def write_atomically(path: Path, *pieces: bytes | memoryview | str) -> None:
    """Write a file so that a crash leaves either the old or the new contents, never a part of them.

    The pieces are written to a temporary file in the same folder, synced to the disk, and renamed.

    Raises:
        OSError: the file cannot be written; the old one is unchanged, and no temporary file is left.
    """
    with replacing(path) as file:
        for data in pieces:
            file.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a new file that replaces `path` atomically at the end of the block; see `write_atomically`.

    Raises:
        OSError: the file cannot be written; the old one is unchanged, and no temporary file is left.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Sync a folder to the disk, so that new names in it survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def system_lock(path: Path, wait: float | None = None) -> Iterator[None]:
    """Hold the lock of a file, which the operating system releases when the process dies.

    Forked children, such as DataLoader workers, do not hold it, because filelock closes the file in them.

    Args:
        path: lock file, in an existing folder.
        wait: seconds to wait while another process holds the lock; None: without end.

    Raises:
        Timeout: another process has held the lock for this time.
        OSError: the file cannot be created, or the file system has no locks.
    """
    if not path.parent.is_dir():  # filelock would create it
        raise FileNotFoundError(ENOENT, os.strerror(ENOENT), str(path.parent))
    # No fallback to a soft lock, which would outlive a killed process.
    with FileLock(path, timeout=-1 if wait is None else wait, fallback_to_soft=False):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # while still locked: filelock does not lock a file that has been deleted


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Let one process at a time work on a file, including processes on other machines that share the folder.

    Raises:
        OSError: the folder does not exist, or the file system has no locks.
    """
    with system_lock(path.with_name(f".{path.name}.lock")):
        yield
