"""Checkpoints that survive crashes and detect damage.

A file is an ordinary torch checkpoint, which is a zip archive. Its archive comment is the SHA-256 of all bytes before
the comment, so that any changed byte is detected. `torch.load` ignores the comment and reads the file as usual.
"""

import hashlib
import io
import os
import pickle
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict, cast

import torch

from runner.errors import CheckpointError
from runner.machine.files import sync_folder, write_atomically

LABEL = b"runner-sha256:"
COMMENT_SIZE = len(LABEL) + 64  # bytes in the archive comment
END = b"PK\x05\x06"  # signature of the archive's end record (22 bytes), which the comment follows
CHUNK = 1 << 22  # bytes to read at a time
FORMAT = 4  # version of the contents; to be increased when code for the previous version would misread them


class Snapshot(TypedDict):
    """All keys of a checkpoint. `snapshot.py` writes and reads them."""

    format: int  # FORMAT
    config: dict[str, Any]  # the resolved config
    spec: dict[str, Any]  # how inputs are normalized, and what outputs mean
    data: str | None  # fingerprint of the training split
    samples: str | None  # hash of the samples of all splits, if they are in memory

    # The state of each part.
    model: dict[str, Any]
    ema: dict[str, Any] | None
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    scaler: dict[str, Any]
    total_steps: int | None  # length of the schedule, in scheduler steps

    # The fields of TrainState.
    best: dict[str, Any]
    early: dict[str, Any]
    epoch: int
    step: int
    position: int
    next: str
    validated: int
    val: dict[str, float]
    train: dict[str, float]
    timed_out: bool
    seconds: float
    epoch_seconds: float
    data_seconds: float
    lr: float

    shards: list[dict[str, Any]]  # for each shard, the metrics, and the states of its random number generators
    files: dict[str, int]  # length of each growing file, by its path in the run folder


# Values of the keys that older checkpoints of this format do not have.
ADDED: dict[str, Any] = {"data": None, "samples": None, "total_steps": None, "validated": 0}


class Unreadable(CheckpointError):
    """A checkpoint cannot be read, but may be intact, for example because the disk is not reachable."""


def save_checkpoint(path: Path, contents: Mapping[str, object]) -> None:
    """Write a checkpoint atomically.

    Args:
        path: file to write.
        contents: plain types and tensors.

    Raises:
        CheckpointError: the disk is full, or the file cannot be written; the message names the file and its size.
    """
    buffer = io.BytesIO()
    torch.save(contents, buffer)
    archive = buffer.getbuffer()[:-2]
    comment_length = struct.pack("<H", COMMENT_SIZE)  # the end of the archive; torch.save writes 0
    size = len(archive) + len(comment_length) + COMMENT_SIZE
    digest = hashlib.sha256(archive)
    digest.update(comment_length)
    try:
        free = shutil.disk_usage(path.parent).free
        if free < size:
            raise CheckpointError(f"{path}: no room: needs {size:,} bytes, {free:,} are free")
        write_atomically(path, archive, comment_length, LABEL, digest.hexdigest().encode())
    except OSError as error:
        raise CheckpointError(f"{path}: cannot write {size:,} bytes: {error}") from error


def verify_checkpoint(path: Path) -> None:
    """Check that every byte of a checkpoint is as it was written.

    Raises:
        Unreadable: the file cannot be read.
        CheckpointError: the file is damaged.
    """
    try:
        with path.open("rb") as file:
            left = path.stat().st_size - COMMENT_SIZE
            digest, tail = hashlib.sha256(), b""
            while left > 0 and (chunk := file.read(min(CHUNK, left))):
                digest.update(chunk)
                tail, left = (tail + chunk)[-22:], left - len(chunk)  # the last 22 bytes are the end record
            comment = file.read()
    except OSError as error:
        raise Unreadable(f"{path}: cannot be read: {error}") from error
    if comment != LABEL + digest.hexdigest().encode() or not tail.startswith(END):
        raise CheckpointError(f"{path}: damaged, or not a checkpoint of runner: its SHA-256 does not match")


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> Snapshot:
    """Verify a checkpoint and load it with `weights_only=True`, so that it cannot run code.

    Raises:
        Unreadable: the file cannot be read.
        CheckpointError: the file is damaged, contains more than plain types and tensors, or has another format.
    """
    verify_checkpoint(path)
    try:
        contents: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"{path}: refused: contains more than plain types and tensors: {error}") from error
    except OSError as error:
        raise Unreadable(f"{path}: cannot be read: {error}") from error
    if contents.get("format", FORMAT) != FORMAT:
        found = f"its format is {contents['format']}, but this version of runner reads format {FORMAT}"
        raise CheckpointError(f"{path}: {found}; environment.json names the version that wrote it")
    return cast(Snapshot, ADDED | contents)


class Checkpoints:
    """The checkpoints of one run: the files `step-*.pt`, with `last.pt` for the newest and `best.pt` for the best one.

    Args:
        folder: folder of the files.
        keep_last: number of `step-*.pt` files to keep.
    """

    def __init__(self, folder: Path, keep_last: int) -> None:
        self.folder, self.keep_last = folder, keep_last
        self.last, self.best = folder / "last.pt", folder / "best.pt"
        self._unreadable: set[Path] = set()  # files that could not be read; never deleted, as they may be intact

    def steps(self) -> list[Path]:
        """Return the `step-*.pt` files, newest first."""
        return sorted(self.folder.glob("step-*.pt"), reverse=True)

    def save(self, contents: Mapping[str, Any], best: bool) -> Path:
        """Save and verify a checkpoint, then delete the old ones.

        Args:
            contents: contents of the checkpoint.
            best: whether it is also the best one so far.

        Returns:
            The path of the new file.

        Raises:
            CheckpointError: the file cannot be written; the older ones are kept.
        """
        path = self._path(contents["step"])
        save_checkpoint(path, contents)
        verify_checkpoint(path)
        try:
            if best:  # before last.pt, which contains the best step: a resume from it must find best.pt in place
                _link(path, self.best)
            _link(path, self.last)
            kept = [old for old in self.steps() if old <= path][: self.keep_last]
            for old in set(self.steps()) - set(kept):  # also later steps, which a resume from this one would repeat
                if old in self._unreadable:
                    old.replace(old.with_name(old.name + ".superseded"))
                else:
                    old.unlink()
        except OSError as error:
            raise CheckpointError(
                f"{path}: saved, but the other files in its folder cannot be updated: {error}"
            ) from error
        return path

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:09d}.pt"

    def restore_best(self, step: int) -> None:
        """Link best.pt to the checkpoint of a step if there is none: a kill may have interrupted the first save."""
        if not self.best.exists() and self._path(step).exists():
            _link(self._path(step), self.best)

    def load_newest(self, device: torch.device | str) -> tuple[Snapshot | None, list[str]]:
        """Load the newest good checkpoint.

        Args:
            device: where to load the tensors.

        Returns:
            The checkpoint, or None if none was ever saved; and one line for each problem with newer ones.

        Raises:
            CheckpointError: all checkpoints are damaged.
        """
        problems = []
        for path in [path for path in (self.last, *self.steps(), self.best) if path.exists()]:
            try:
                contents = load_checkpoint(path, device)
            except CheckpointError as error:
                problems.append(str(error))
                if isinstance(error, Unreadable):
                    self._unreadable.add(path)
                continue
            if problems:
                newest = max([int(step.stem.removeprefix("step-")) for step in self.steps()], default=0)
                lost = max(newest - contents["step"], 0)
                problems.append(f"continuing from {path} instead; {lost} steps are lost and will be repeated")
            return contents, problems
        if problems:
            raise CheckpointError("\n".join(["all checkpoints are damaged; nothing was changed", *problems]))
        return None, []


def _link(source: Path, target: Path) -> None:
    """Replace `target` atomically by a hard link to `source`, or by a copy if the file system has no links."""
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(source, part)
        part.replace(target)
        sync_folder(target.parent)
    except OSError:
        write_atomically(target, source.read_bytes())
    finally:
        part.unlink(missing_ok=True)  # it is left over if `target` was already a link to the same file
