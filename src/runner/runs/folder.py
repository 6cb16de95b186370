"""Run folders: each is created by one process only, and locked while a process uses it."""

import fcntl
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from filelock import Timeout

from runner.errors import ConfigError, RunnerError
from runner.machine.files import system_lock

LONGEST_NAME = 80  # bytes


def safe_name(name: str, longest: int = LONGEST_NAME) -> str:
    """Return a name that is safe as a path segment, without separators, control characters or a leading dot.

    Args:
        name: name to clean.
        longest: maximum length in bytes.
    """
    cleaned = re.sub(r"[^\w.,=+\-]+", "_", name).strip("._ ")
    while len(cleaned.encode()) > longest:
        cleaned = cleaned[:-1]
    return cleaned or "run"


def make_run_folder(root: Path, name: str, now: datetime | None = None) -> Path:
    """Create `root/YYYY-MM-DD/HH-MM-SS_name`, with a suffix -2, -3, ... if it exists.

    Raises:
        ConfigError: the folder cannot be created.
    """
    now = now or datetime.now()
    return fill_run_folder(make_folder(root / now.strftime("%Y-%m-%d"), f"{now:%H-%M-%S}_{safe_name(name)}"))


def make_folder(parent: Path, name: str) -> Path:
    """Create `parent/name`, with a suffix -2, -3, ... if it exists. No two processes get the same folder.

    Raises:
        ConfigError: the folder cannot be created.
    """
    suffix = 1
    while True:
        folder = parent / (name if suffix == 1 else f"{name}-{suffix}")
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except FileExistsError:
            if not parent.is_dir():
                raise ConfigError(f"output_dir: {parent} is not a folder") from None
            suffix += 1
        except OSError as error:
            raise ConfigError(f"output_dir: cannot create {folder}: {error.strerror}") from error
        else:
            return folder


def fill_run_folder(folder: Path) -> Path:
    """Create the folders inside a run folder, and the run folder itself if it does not exist."""
    for part in ("checkpoints", "plots"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(folder: Path, wait: float = 0) -> Iterator[None]:
    """Hold the lock of a run folder. The operating system releases it if the process dies.

    Args:
        folder: the run folder.
        wait: seconds to wait while another process holds the lock.

    Raises:
        ConfigError: another process uses the folder, or it cannot be locked.
        RunnerError: the folder cannot be written.
    """
    path = folder / ".lock"
    with ExitStack() as stack:
        try:
            stack.enter_context(system_lock(path, wait))
        except Timeout:
            raise ConfigError(f"{folder}: in use by another process: {_owner(path)}") from None
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be locked: {error.strerror}") from error
        try:
            path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        except OSError as error:
            raise RunnerError(f"{folder}: cannot be written: {error.strerror}") from error
        yield


def check_unused(folder: Path) -> None:
    """Check that no process uses a run folder, without writing to it.

    Raises:
        ConfigError: another process uses it.
    """
    path = folder / ".lock"
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(f"{folder}: in use by another process: {_owner(path)}; wait until it has ended") from None
    except OSError:  # there is no lock, or the file system has none
        return


def _owner(lock: Path) -> str:
    """Return the process and host in a lock file."""
    try:
        return lock.read_text(errors="replace") or "an unknown process"
    except OSError:
        return "an unknown process"
