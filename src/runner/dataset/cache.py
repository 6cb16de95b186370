"""Pictures of one size in a memory-mapped file, so that they are decoded only once.

The file is a sequence of arrays in NumPy's format: the settings, the names, sizes and times of the picture files, and
the pixels [N, C, H, W] as bytes. It is complete from the moment at which it has its name.
"""

import json
import logging
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from shutil import disk_usage
from typing import Any, ClassVar

import numpy as np
import torch
from filelock import Timeout
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from runner.dataset.picture import Pictures
from runner.errors import DataError, from_worker
from runner.machine.files import replacing, system_lock

log = logging.getLogger("runner")

VERSION = 1  # of the file, and of everything here that decides about the pixels
BATCH = 32  # pictures that a process decodes at a time
FEW = 100  # pictures that are not worth starting processes for
PERIOD = 5.0  # seconds between two messages about the progress
Index = list[NDArray[Any]]  # settings, names, ends of the names, sizes and times


class Cached:
    """Images in a memory-mapped file as inputs: `cached[i]` is a uint8 image [C, H, W].

    The processes that read them share their memory.

    Args:
        path: the file.
        offset: position of the pixels in it.
        shape: shape of the pixels, (N, C, H, W).
    """

    draws: ClassVar[bool] = False

    def __init__(self, path: Path, offset: int, shape: tuple[int, ...]) -> None:
        self.path, self.offset = path, offset
        self.pixels = np.asarray(np.memmap(path, np.uint8, "r", offset, shape)) if shape[0] else np.empty(shape, "u1")

    def __reduce__(self) -> tuple[Any, ...]:
        return Cached, (self.path, self.offset, self.pixels.shape)  # not the pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(self.pixels[index].copy())

    def take(self, indices: Sequence[int]) -> Tensor:
        """Return some of the images as one batch [B, C, H, W]."""
        return torch.from_numpy(self.pixels[indices])


def cached(pictures: Pictures, folder: Path) -> Cached:
    """Return pictures from a file in a folder, which is written first unless it is complete and up to date.

    A file that was changed, added or removed since then is noticed by its name, size and time. Only those that are new
    are decoded. Of several processes, one writes the file, and the others wait for it.

    Args:
        pictures: pictures to decode.
        folder: folder of the file; it is created.

    Raises:
        DataError: a picture cannot be read, or the file cannot be written.
    """
    index = index_of(pictures)
    place = blake2b(index[0].tobytes() + bytes(pictures.files.folder.resolve()), digest_size=6).hexdigest()
    path = folder / f"{pictures.files.folder.name}-{place}.pictures"
    if (found := up_to_date(path, index)) is not None:  # without the lock, so that the folder may be read-only
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _wait_for_lock(path):
            found = up_to_date(path, index)
            if found is None:
                write(path, index, pictures)
                found = up_to_date(path, index)
    except OSError as error:
        raise DataError(f"dataset.cache: {path}: cannot be written: {error.strerror or error}") from error
    if found is None:
        raise DataError(f"dataset.cache: {path}: was changed by another program while it was written")
    return found


def index_of(pictures: Pictures) -> Index:
    """Return what decides about the pixels: the settings, and the names, sizes and times of the files.

    Raises:
        DataError: a file no longer exists.
    """
    import PIL

    settings = {"version": VERSION, "pillow": PIL.__version__, "torch": torch.__version__, **asdict(pictures.frame)}
    encoded = np.frombuffer(json.dumps(settings).encode(), np.uint8)
    return [
        encoded,
        np.frombuffer(pictures.files.text, np.uint8),
        pictures.files.ends,
        pictures.files.sizes_and_times(),
    ]


def up_to_date(path: Path, index: Index) -> Cached | None:
    """Return the images of a file if it is complete and has this index, otherwise None."""
    read = read_file(path)
    same = read is not None and all(map(np.array_equal, read[0], index))
    return read[1] if read is not None and same else None


def read_file(path: Path) -> tuple[Index, Cached] | None:
    """Return the index and the images of a file; None if there is none, or if it is damaged."""
    try:
        with path.open("rb") as file:
            index = [npy.read_array(file, allow_pickle=False) for _ in range(4)]
            npy.read_magic(file)
            shape, _, _ = npy.read_array_header_1_0(file)
            images = Cached(path, file.tell(), shape)
            if os.fstat(file.fileno()).st_size == file.tell() + images.pixels.size:
                return index, images
    except (OSError, ValueError, EOFError, MemoryError):
        pass
    return None


def _wait_for_lock(path: Path) -> ExitStack:
    """Return the lock of a file, after waiting for the process that writes it, if there is one."""
    lock, held = path.with_name(f".{path.name}.lock"), ExitStack()
    try:
        held.enter_context(system_lock(lock, wait=0))
    except Timeout:
        log.info("cache    another process is writing %s: waiting for it", path)
        held.enter_context(system_lock(lock))
    return held


def write(path: Path, index: Index, pictures: Pictures) -> None:
    """Write a file under a temporary name, and rename it when it is complete.

    Raises:
        DataError: a picture cannot be read.
        OSError: the file cannot be written.
    """
    frame = pictures.frame
    shape = (len(pictures), frame.channels, frame.height, frame.width)
    needed, free = int(np.prod(shape)), disk_usage(path.parent).free
    if needed > free:
        raise DataError(f"dataset.cache: {path}: needs {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free")
    with replacing(path) as file:
        for array in index:
            npy.write_array(file, array, allow_pickle=False)
        npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for pixels in _rows(path, index, pictures):
            file.write(pixels.data)


def _rows(path: Path, index: Index, pictures: Pictures) -> Iterator[NDArray[np.uint8]]:
    """Yield the pixels of each picture: those of an earlier file if they have not changed, otherwise decoded."""
    old = read_file(path)
    known = {} if old is None else {key: row for row, key in enumerate(_keys(old[0]))}
    rows = [known.get(key) for key in _keys(index)]
    new = [number for number, row in enumerate(rows) if row is None]
    log.info("cache    decoding %s of %s pictures into %s", f"{len(new):,}", f"{len(rows):,}", path)
    begun, decoded = time.monotonic(), _decoded(pictures, new)
    for row in rows:
        yield next(decoded) if row is None or old is None else old[1].pixels[row]
    log.info("cache    done in %.1f s", time.monotonic() - begun)


def _keys(index: Index) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, the size and the time of each file."""
    _, text, ends, stats = index
    names = text.tobytes()
    for start, end, (size, modified) in zip(ends.tolist(), ends[1:].tolist(), stats.tolist(), strict=False):
        yield names[start:end], size, modified


def _decoded(pictures: Pictures, numbers: list[int]) -> Iterator[NDArray[np.uint8]]:
    """Yield the pixels of some pictures, decoded by a process for each core.

    Raises:
        DataError: a picture cannot be read.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Not more workers than batches: if the loader is collected in a reference cycle, as after an error, the queue of a
    # worker without a batch closes file descriptors that now belong to other files.
    workers = 0 if len(numbers) < FEW else min(cores, math.ceil(len(numbers) / BATCH))
    chosen: Subset[Tensor] = Subset(pictures, numbers)  # type: ignore[arg-type]  # it has the methods that are called
    # A generator of its own, so that the global one is not used.
    loader = DataLoader(chosen, BATCH, num_workers=workers, generator=torch.Generator())
    reported, done = time.monotonic(), 0
    try:
        for batch in loader:
            yield from batch.numpy()
            done += len(batch)
            if time.monotonic() - reported > PERIOD:
                reported = time.monotonic()
                log.info("cache    %s of %s pictures", f"{done:,}", f"{len(numbers):,}")
    except DataError as error:
        raise from_worker(error) from error
