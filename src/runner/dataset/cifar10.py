"""CIFAR-10, read from its binary version."""

import hashlib
import tarfile
import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from runner.dataset.base import Pool, Samples, Spec
from runner.dataset.download import Published, download
from runner.dataset.frame import resize
from runner.errors import DataError
from runner.machine.files import one_at_a_time
from runner.registry import DATASETS

FOLDER = "cifar-10-batches-bin"
ARCHIVE = "cifar-10-binary.tar.gz"
PUBLISHED = Published(f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}", "c32a1d4ab5d03f1284b67883e8d87530")
TRAIN, TEST = [f"data_batch_{number}.bin" for number in range(1, 6)], ["test_batch.bin"]
RECORD = 1 + 3 * 32 * 32  # bytes per image: the class, then the red, green and blue planes


@DATASETS.register("cifar10")
class CIFAR10:
    """60,000 color images of 32x32 pixels in ten classes.

    Args:
        root: folder with the six .bin files, with their folder `cifar-10-batches-bin`, or with the archive
            `cifar-10-binary.tar.gz`. If they are missing, the archive is downloaded into it.
        size: height and width to resize to, in pixels.

    Raises:
        ValueError: `size` is below 1.

    Source:
        Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".
    """

    def __init__(self, root: str, size: int = 32) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, found {size}")
        self.root = Path(root).expanduser()
        self.spec = Spec(
            task="classification",
            in_shape=(3, size, size),
            out_features=10,
            classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
            mean=(0.4914, 0.4822, 0.4465),
            std=(0.2470, 0.2435, 0.2616),
            has_test=True,
        )

    def fetch(self) -> None:
        """Download and extract the missing files.

        Raises:
            DataError: the download failed, or the archive is damaged.
        """
        missing = [name for name in TRAIN + TEST if self._find(name) is None]
        if missing:
            archive = self.root / ARCHIVE
            if not archive.is_file():
                download({f"{FOLDER}/: {', '.join(missing)}": PUBLISHED}, self.root)
            extract(archive, missing, self.root / FOLDER)

    def load(self) -> Pool:
        """Return uint8 images [N, 3, size, size] and class indices [N], with a test set.

        Raises:
            DataError: a file is missing and cannot be downloaded, or is damaged.
        """
        self.fetch()
        return Pool(self._read(TRAIN), self._read(TEST))

    def _find(self, name: str) -> Path | None:
        places = [self.root / name, self.root / FOLDER / name]
        return next((place for place in places if place.is_file()), None)

    def _read(self, names: list[str]) -> Samples:
        paths = [path for path in map(self._find, names) if path is not None]
        images, labels = zip(*map(read_records, paths), strict=True)
        return Samples(resize(torch.cat(images), self.spec.in_shape[-1]), torch.cat(labels))


def extract(archive: Path, names: list[str], folder: Path) -> None:
    """Extract files from the archive; a crash leaves no incomplete file.

    Args:
        archive: path of the archive.
        names: names of the files.
        folder: folder to write to.

    Raises:
        DataError: the archive is damaged, lacks a file, or is unsafe to extract; the message names it.
    """
    try:
        with archive.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        if found != PUBLISHED.md5:  # the user may have put the archive there
            raise tarfile.TarError(f"damaged: its MD5 is {found}, expected {PUBLISHED.md5}")
        folder.mkdir(exist_ok=True)
        with one_at_a_time(folder / "extract"), tempfile.TemporaryDirectory(dir=folder) as part:
            with tarfile.open(archive) as tar:
                for name in names:
                    member = tar.getmember(f"{FOLDER}/{name}")
                    if not member.isfile():
                        raise tarfile.TarError(f"{member.name} is not a regular file")
                    tar.extract(member, part, filter="data")
            for name in names:
                (Path(part) / FOLDER / name).replace(folder / name)
    except (OSError, EOFError, KeyError, zlib.error, tarfile.TarError) as error:
        reason = error.args[0] if isinstance(error, KeyError) else error
        raise DataError(f"{archive}: cannot be extracted: {reason}") from error


def read_records(path: Path) -> tuple[Tensor, Tensor]:
    """Read one .bin file.

    Returns:
        Images [N, 3, 32, 32] as uint8, and class indices [N] as int64.

    Raises:
        DataError: the file is damaged or has another format; the message names it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if not data or len(data) % RECORD:
        raise DataError(f"{path}: damaged: {len(data)} bytes, expected a multiple of {RECORD}")
    records = torch.from_numpy(np.frombuffer(data, dtype=np.uint8).reshape(-1, RECORD).copy())
    labels = records[:, 0].long()
    if labels.max() > 9:
        raise DataError(f"{path}: found label {int(labels.max())}; allowed: 0 to 9")
    return records[:, 1:].reshape(-1, 3, 32, 32), labels
