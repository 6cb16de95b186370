"""Writing files so that a crash leaves the old one or the new one, never a torn one."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(path: Path, data: bytes | str) -> None:
    """Writes beside `path`, syncs to the disk, and renames over it.

    Raises:
        OSError: the disk refused; `path` is as it was, and nothing is left beside it.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes new names in a folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Waits until no other process is in here with the same file, also on other machines that share its folder.

    Raises:
        OSError: the file is not there, or its file system has no locks.
    """
    with path.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield
