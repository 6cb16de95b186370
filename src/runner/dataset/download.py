"""Fetching a dataset's published files, whole or not at all."""

import tempfile
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from runner.errors import DataError


class Published(NamedTuple):
    """Where a file is published, over https, and the MD5 that its publisher states."""

    url: str
    md5: str


def download(files: Mapping[str, Published], folder: Path) -> None:
    """Downloads the files into `folder`, each verified before it takes its place.

    Raises:
        DataError: a download failed; the message names the folder and the files to place by hand.
    """
    from runner.vision import torchvision  # a second to import

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".download.lock"), tempfile.TemporaryDirectory(dir=folder) as part:
            for source in files.values():
                name = source.url.rsplit("/", 1)[-1]
                if (folder / name).exists():  # another process was quicker
                    continue
                torchvision.datasets.utils.download_url(source.url, part, md5=source.md5)
                (Path(part) / name).replace(folder / name)
    except (OSError, RuntimeError, HTTPException) as error:
        names = "\n".join(f"  {name}  or  {source.url.rsplit('/', 1)[-1]}" for name, source in files.items())
        raise DataError(f"The download failed: {error}\nPlace these files in {folder.resolve()}\n{names}") from error
