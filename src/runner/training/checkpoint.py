"""Checkpoints that survive crashes and tell when they are damaged.

A file is an ordinary torch checkpoint (a zip archive) whose archive comment holds the SHA-256 of all that comes
before it. So one file carries its own proof, `torch.load` reads it as it is, and no byte can change unnoticed.
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
PROOF = len(LABEL) + 64  # bytes of the archive comment
END = b"PK\x05\x06"  # starts the archive's end record, which a comment follows
CHUNK = 1 << 22
FORMAT = 3  # of the contents; another number when a reader of the old ones would misread the new


class Snapshot(TypedDict):
    """The keys of a checkpoint, all of them. `snapshot.py` writes and reads them."""

    format: int  # FORMAT
    config: dict[str, Any]  # the resolved config
    spec: dict[str, Any]  # what the model needs to know of its dataset: mean, std, classes
    data: str | None  # fingerprint of the training split

    # `state_dict` of each part of the Experiment.
    model: dict[str, Any]
    ema: dict[str, Any] | None
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    scaler: dict[str, Any]
    total_steps: int | None  # of the schedule: its length, in its own steps

    # The fields of TrainState, which documents them.
    best: dict[str, Any]
    early: dict[str, Any]
    recent: dict[str, Any]
    window: dict[str, Any]
    sums: dict[str, Any]
    epoch: int
    step: int
    position: int
    next: str
    validated: int
    val: dict[str, float]
    train: dict[str, float]
    seconds: float
    epoch_seconds: float
    data_seconds: float
    lr: float

    rng: dict[str, Any]  # states of the random number generators
    others: list[dict[str, Any]]  # sums and rng of each other process
    files: dict[str, int]  # length of each file that grows, by its path in the run folder


# What the older checkpoints of this format do not have.
ADDED: dict[str, Any] = {"data": None, "others": [], "total_steps": None, "validated": 0}


class Unreadable(CheckpointError):
    """The disk refused to read a checkpoint, which may be good."""


def save_checkpoint(path: Path, contents: Mapping[str, object]) -> None:
    """Writes plain types and tensors, whole or not at all.

    Raises:
        CheckpointError: there is no room, or the disk refused; the message names the file and the bytes.
    """
    buffer = io.BytesIO()
    torch.save(contents, buffer)
    archive = buffer.getbuffer()
    size = len(archive) + PROOF
    free = shutil.disk_usage(path.parent).free
    if free < size:
        raise CheckpointError(f"{path}: no room: needs {size:,} bytes, {free:,} are free")
    body = bytes(archive[:-2]) + struct.pack("<H", PROOF)  # an archive ends with the length of its comment
    try:
        write_atomically(path, body + LABEL + hashlib.sha256(body).hexdigest().encode())
    except OSError as error:
        raise CheckpointError(f"{path}: cannot write {size:,} bytes: {error}") from error


def verify_checkpoint(path: Path) -> None:
    """Raises CheckpointError, naming the file, unless every byte is as it was written."""
    try:
        with path.open("rb") as file:
            left = path.stat().st_size - PROOF
            digest, tail = hashlib.sha256(), b""
            while left > 0 and (chunk := file.read(min(CHUNK, left))):
                digest.update(chunk)
                tail, left = (tail + chunk)[-22:], left - len(chunk)
            proof = file.read()
    except OSError as error:
        raise Unreadable(f"{path}: cannot be read: {error}") from error
    if proof != LABEL + digest.hexdigest().encode() or not tail.startswith(END):
        raise CheckpointError(f"{path}: damaged, or no checkpoint of this program: its SHA-256 does not match")


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> Snapshot:
    """Reads a checkpoint, verified first, with `weights_only=True`: nothing in it can run.

    Raises:
        CheckpointError: the file is damaged, holds more than plain types and tensors, or is of another format.
    """
    verify_checkpoint(path)
    try:
        contents: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"{path}: refused: holds more than plain types and tensors: {error}") from error
    except OSError as error:
        raise Unreadable(f"{path}: cannot be read: {error}") from error
    if contents.get("format", FORMAT) != FORMAT:
        found = f"its format is {contents['format']}, this version of runner reads {FORMAT}"
        raise CheckpointError(f"{path}: {found}; environment.json names the version that wrote it")
    return cast(Snapshot, ADDED | contents)


class Checkpoints:
    """The checkpoints of one run: `step-*.pt` as saved, `last.pt` the newest of them, `best.pt` the best.

    Args:
        folder: where they lie.
        keep_last: how many `step-*.pt` stay.
    """

    def __init__(self, folder: Path, keep_last: int) -> None:
        self.folder, self.keep_last = folder, keep_last
        self.last, self.best = folder / "last.pt", folder / "best.pt"
        self._unreadable: set[Path] = set()  # when they were tried

    def steps(self) -> list[Path]:
        """The step files, newest first."""
        return sorted(self.folder.glob("step-*.pt"), reverse=True)

    def save(self, contents: Mapping[str, Any], best: bool) -> Path:
        """Saves the state after step `contents["step"]`. An older file goes only when the new one is verified.

        Raises:
            CheckpointError: the disk refused; the older files are as they were.
        """
        path = self.folder / f"step-{contents['step']:09d}.pt"
        save_checkpoint(path, contents)
        verify_checkpoint(path)
        try:
            if best:  # before `last`: whoever resumes from there must find the best one that it remembers
                _link(path, self.best)
            _link(path, self.last)
            kept = [old for old in self.steps() if old <= path][: self.keep_last]
            for old in set(self.steps()) - set(kept):  # also those after this step: from before a resume
                if old in self._unreadable:
                    old.replace(old.with_name(old.name + ".superseded"))
                else:
                    old.unlink()
        except OSError as error:
            raise CheckpointError(f"{path}: saved, but its folder cannot be brought up to date: {error}") from error
        return path

    def load_newest(self, device: torch.device | str) -> tuple[Snapshot | None, list[str]]:
        """The newest good checkpoint, None when none was ever saved; and what was wrong with newer ones.

        Raises:
            CheckpointError: there are checkpoints, and all are damaged.
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
                problems.append(f"going on from {path} instead: {lost} steps are lost and will be done again")
            return contents, problems
        if problems:
            raise CheckpointError("\n".join(["no good checkpoint is left; nothing was touched", *problems]))
        return None, []


def _link(source: Path, target: Path) -> None:
    """Makes `target` another name of `source`, at once; a copy where the disk knows no links."""
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(source, part)
        part.replace(target)
        sync_folder(target.parent)
    except OSError:
        write_atomically(target, source.read_bytes())
    finally:
        part.unlink(missing_ok=True)  # a rename onto another name of the same file leaves both
