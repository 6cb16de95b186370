"""MNIST, read from its four IDX files."""

from pathlib import Path
from typing import ClassVar

from runner.dataset.base import Pool, Samples, Spec
from runner.dataset.download import Published, download
from runner.dataset.frame import resize
from runner.dataset.idx import read_idx
from runner.errors import DataError
from runner.registry import DATASETS

MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FILES = {
    "train-images-idx3-ubyte": Published(f"{MIRROR}train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    "train-labels-idx1-ubyte": Published(f"{MIRROR}train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
    "t10k-images-idx3-ubyte": Published(f"{MIRROR}t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
    "t10k-labels-idx1-ubyte": Published(f"{MIRROR}t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
}


@DATASETS.register("mnist")
class MNIST:
    """70,000 handwritten digits of 28x28 pixels.

    Args:
        root: folder with the four IDX files, or with `MNIST/raw`, where torchvision stores them. If they are missing,
            they are downloaded.
        size: height and width to resize to, in pixels.

    Raises:
        ValueError: `size` is below 1.

    Source:
        LeCun, Cortes and Burges, "The MNIST Database of Handwritten Digits".
    """

    files: ClassVar = FILES
    places: ClassVar[tuple[str, ...]] = (".", "MNIST/raw")  # folders below root; downloads go to the last one
    classes: ClassVar = tuple("0123456789")
    mean: ClassVar = (0.1307,)
    std: ClassVar = (0.3081,)

    def __init__(self, root: str, size: int = 28) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, found {size}")
        self.root = Path(root).expanduser()
        self.spec = Spec(
            task="classification",
            in_shape=(1, size, size),
            out_features=10,
            classes=self.classes,
            mean=self.mean,
            std=self.std,
            has_test=True,
        )

    def fetch(self) -> None:
        """Download the missing files.

        Raises:
            DataError: the download failed.
        """
        missing = {name: source for name, source in self.files.items() if self._find(name) is None}
        if missing:
            download(missing, self.root / self.places[-1])

    def load(self) -> Pool:
        """Return uint8 images [N, 1, size, size] and class indices [N], with a test set.

        Raises:
            DataError: a file is missing and cannot be downloaded, or is damaged.
        """
        self.fetch()
        return Pool(self._read("train"), self._read("t10k"))

    def _find(self, name: str) -> Path | None:
        paths = [self.root / place / file for place in self.places for file in (name, f"{name}.gz")]
        return next((path for path in paths if path.is_file()), None)

    def _read(self, part: str) -> Samples:
        images_path, labels_path = self._find(f"{part}-images-idx3-ubyte"), self._find(f"{part}-labels-idx1-ubyte")
        assert images_path is not None
        assert labels_path is not None
        images, labels = read_idx(images_path, dims=3), read_idx(labels_path, dims=1)
        if len(images) != len(labels):
            raise DataError(f"{labels_path}: {len(labels)} labels for the {len(images)} images of {images_path}")
        if len(labels) and labels.max() > 9:
            raise DataError(f"{labels_path}: found label {labels.max()}; allowed: 0 to 9")
        return Samples(resize(images.unsqueeze(1), self.spec.in_shape[-1]), labels.long())
