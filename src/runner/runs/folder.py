"""Run folders: made at once, never shared, locked while a process works in them."""

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

LONGEST_NAME = 80


def safe_name(name: str, longest: int = LONGEST_NAME) -> str:
    """A name that is one path segment: no separators or control characters, no leading dot, at most `longest` bytes."""
    cleaned = re.sub(r"[^\w.,=+\-]+", "_", name).strip("._ ")
    while len(cleaned.encode()) > longest:
        cleaned = cleaned[:-1]
    return cleaned or "run"


def make_run_folder(root: Path, name: str, now: datetime | None = None) -> Path:
    """Makes `root/YYYY-MM-DD/HH-MM-SS_name`; when it exists, with a suffix -2, -3, ...: never one that is there.

    Raises:
        ConfigError: `root` cannot be written.
    """
    now = now or datetime.now()
    return fill_run_folder(make_folder(root / now.strftime("%Y-%m-%d"), f"{now:%H-%M-%S}_{safe_name(name)}"))


def make_folder(parent: Path, name: str) -> Path:
    """Makes `parent/name`, or with a suffix; `mkdir` lets just one process have it.

    Raises:
        ConfigError: `parent` cannot be written.
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
            raise ConfigError(f"output_dir: cannot make {folder}: {error.strerror}") from error
        else:
            return folder


def fill_run_folder(folder: Path) -> Path:
    """Makes the folders within a run folder, and the run folder where there is none."""
    for part in ("checkpoints", "plots"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. The system frees it when the process dies, however it dies; its children never hold it.

    Raises:
        ConfigError: another live process works in the folder, or it cannot be locked.
    """
    path = folder / ".lock"
    with ExitStack() as stack:
        try:
            stack.enter_context(system_lock(path, wait=False))
        except Timeout:
            raise ConfigError(f"{folder}: a live run works in it: {_owner(path)}") from None
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be locked: {error.strerror}") from error
        try:
            path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        except OSError as error:
            raise RunnerError(f"{folder}: cannot be written: {error.strerror}") from error
        yield


def _owner(lock: Path) -> str:
    """Return what a lock says of who holds it, who may have just gone."""
    try:
        return lock.read_text(errors="replace") or "an unknown process"
    except OSError:
        return "an unknown process"
