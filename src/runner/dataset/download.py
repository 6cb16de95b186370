"""Download and verify the files of a dataset."""

import hashlib
import tempfile
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError

import torch

from runner.errors import DataError
from runner.machine.files import one_at_a_time


class Published(NamedTuple):
    """A file that can be downloaded: its https URL, and the MD5 that its publisher states."""

    url: str
    md5: str


def download(files: Mapping[str, Published], folder: Path) -> None:
    """Download files; each one appears in the folder only after it has been verified.

    Args:
        files: URL and MD5 of each file, by the name under which the dataset looks for it.
        folder: folder to download to.

    Raises:
        DataError: a download failed; the message names the folder and the files to download by hand.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(folder / "download"), tempfile.TemporaryDirectory(dir=folder) as part:
            for source in files.values():
                name = source.url.rsplit("/", 1)[-1]
                if (folder / name).exists():  # another process has downloaded it
                    continue
                _fetch(source, Path(part) / name)
                (Path(part) / name).replace(folder / name)
    except (OSError, HTTPException) as error:
        names = "\n".join(
            f"  {name}  or  {source.url.rsplit('/', 1)[-1]}  from {source.url}" for name, source in files.items()
        )
        raise DataError(f"The download failed: {error}\nPlace these files in {folder.resolve()}\n{names}") from error


def fetch_file(url: str, target: Path, hash_prefix: str | None = None) -> None:
    """Download a file, and close the connection if the server refuses it, which torch does not.

    Args:
        url: URL of the file.
        target: path to write it to.
        hash_prefix: first digits of its SHA-256; None: do not check it.

    Raises:
        OSError: the download failed.
        HTTPException: the server does not follow the protocol.
        RuntimeError: the file has another SHA-256.
    """
    try:
        torch.hub.download_url_to_file(url, str(target), hash_prefix, progress=False)
    except HTTPError as error:
        error.close()
        raise


def _fetch(source: Published, target: Path) -> None:
    """Download a file and verify it. (torchvision's downloader would fall back to plain http.)

    Raises:
        OSError: the download failed, or the file has another MD5.
    """
    fetch_file(source.url, target)
    with target.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != source.md5:
        raise OSError(f"{source.url}: the MD5 is {found}, expected {source.md5}")
