"""Truncate the files of a run to their lengths at a checkpoint, so that a resumed run continues them in place."""

import os
from collections.abc import Mapping
from pathlib import Path

from runner.errors import ConfigError
from runner.tracking.metrics_csv import FILE
from runner.tracking.recorded import event_files


def appended_files(folder: Path) -> list[Path]:
    """Return the files of a run folder that grow during training: metrics.csv and the event files."""
    return [*folder.glob(FILE), *event_files(folder)]


def rewind(folder: Path, lengths: Mapping[str, int]) -> None:
    """Truncate the appended files of a run folder.

    Args:
        folder: run folder.
        lengths: length in bytes for each path, relative to the folder; files not listed are deleted.
    """
    for path in appended_files(folder):
        if path.is_symlink():
            continue
        length = lengths.get(str(path.relative_to(folder)), 0)
        if length == 0:
            path.unlink()
        elif length < path.stat().st_size:
            descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
            try:
                os.ftruncate(descriptor, length)
            finally:
                os.close(descriptor)


def refuse_links(folder: Path) -> None:
    """Refuse symbolic links in a run folder, because a resumed run would write to the files that they point to.

    Raises:
        ConfigError: the folder contains a symbolic link.
    """
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in sorted([*folders, *files])):
            if path.is_symlink():
                raise ConfigError(
                    f"{path} is a symbolic link to {path.readlink()}: a resumed run would write through it; replace it "
                    "by the file or folder itself, or remove it"
                )
