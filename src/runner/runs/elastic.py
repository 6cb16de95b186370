"""Find the run folder again after torchrun has restarted the processes (`torchrun --max-restarts`).

The folder of a run is recorded under `output_dir`, in one small file for each torchrun process that takes part. After a
restart at least one of them is still the same, whichever machine rank 0 is on now.
"""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from runner.machine.files import write_atomically
from runner.machine.ranks import is_elastic
from runner.machine.rendezvous import Member

FOLDER = ".torchrun"
OLD = 30 * 24 * 3600.0  # seconds after which a record is deleted


class Launch:
    """The record of a run for the torchrun processes that have started it.

    Args:
        root: output_dir.
        members: processes of the run; empty without torchrun.

    Attributes:
        restarted: whether torchrun has restarted the processes, once `folder` was called.
    """

    def __init__(self, root: Path, members: Iterable[Member]) -> None:
        launchers = sorted({member.launcher for member in members if member.launcher is not None and is_elastic()})
        self.root, self.run = root / FOLDER, Path()
        self.files = [self.root / launcher for launcher in launchers]
        self.restarted = False

    def folder(self) -> Path | None:
        """Return the folder of the run that these torchrun processes have started before; None for a new run."""
        for file in self.files:
            with suppress(OSError):
                folder = Path(os.fsdecode(file.read_bytes()))
                if folder.is_dir():
                    self.restarted = True
                    return folder
        return None

    def record(self, folder: Path) -> None:
        """Record the folder of the run."""
        self.run = folder
        if not self.files:
            return
        self.root.mkdir(parents=True, exist_ok=True)
        for file in self.root.glob("*"):
            with suppress(OSError):
                if time.time() - file.stat().st_mtime > OLD:
                    file.unlink()
        for file in self.files:
            write_atomically(file, os.fsencode(folder))

    def forget(self) -> None:
        """Delete the record, because the run has ended and will not be restarted."""
        for file in self.root.glob("*"):
            with suppress(OSError):
                if Path(os.fsdecode(file.read_bytes())) == self.run:
                    file.unlink()
