"""Writing files so that a crash leaves the old one or the new one, never a torn one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOENT
from pathlib import Path

from filelock import FileLock


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
def system_lock(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold a lock by a file made for it, in a folder that is there; the system frees it when the process dies.

    Forked children, such as the workers of a DataLoader, do not hold it: filelock closes the file in them.

    Raises:
        Timeout: another process holds it, and `wait` is false.
        OSError: the file cannot be made, or its file system has no locks.
    """
    if not path.parent.is_dir():  # filelock would make it
        raise FileNotFoundError(ENOENT, os.strerror(ENOENT), str(path.parent))
    # Not a soft lock where the file system has no others: it would outlive a process that is killed.
    with FileLock(path, blocking=wait, fallback_to_soft=False):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # while it is held: filelock takes no lock of a file that has lost its name


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Wait until no other process is in here with the same file, also on other machines that share its folder.

    Raises:
        OSError: the folder is not there, or its file system has no locks.
    """
    with system_lock(path.with_name(f".{path.name}.lock")):
        yield
