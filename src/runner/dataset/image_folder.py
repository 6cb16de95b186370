"""Images in one folder per class."""

from pathlib import Path
from typing import Literal

import torch

from runner.dataset.base import Pool, Samples, Spec
from runner.dataset.cache import cached
from runner.dataset.frame import Frame
from runner.dataset.listing import Listing, names_below
from runner.dataset.picture import SUFFIXES, Pictures
from runner.errors import DataError
from runner.registry import DATASETS

# Mean and standard deviation of ImageNet by number of channels, as torchvision's models expect them.
MEAN: dict[int, tuple[float, ...]] = {1: (0.449,), 3: (0.485, 0.456, 0.406)}
STD: dict[int, tuple[float, ...]] = {1: (0.226,), 3: (0.229, 0.224, 0.225)}


@DATASETS.register("image_folder")
class ImageFolder:
    """PNG, JPEG and WebP images in one folder per class, at any depth below it, read one at a time.

    The class folders are either in `root`, or in root/train with further splits in root/test, root/val or both. If
    there is only root/val, it is the test split.

    Args:
        root: folder of the images.
        size: height and width of the images, in pixels.
        fit: "crop": the center of each picture, in its own proportions; "stretch": the whole picture, whatever its
            proportions.
        shorter_side: for fit="crop": pixels to which the shorter side is resized before the center is cropped; None:
            `size`.
        channels: 3 for color, 1 for gray images.
        cache: folder for a memory-mapped file of the images, which are then decoded only once; None: decode them each
            time.

    Raises:
        ValueError: `size` is below 1, or `shorter_side` below `size`.
        ValueError: `shorter_side` is set, and `fit` is "stretch".
        ValueError: `cache` is a file.
        ValueError: `root` does not exist or has no class folders, or a class is missing in root/train.
    """

    def __init__(
        self,
        root: str,
        size: int = 64,
        fit: Literal["crop", "stretch"] = "crop",
        shorter_side: int | None = None,
        channels: Literal[1, 3] = 3,
        cache: str | None = None,
    ) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, found {size}")
        if shorter_side is not None and (fit == "stretch" or shorter_side < size):
            allowed = "null with fit=stretch" if fit == "stretch" else f"null, or at least size={size}"
            raise ValueError(f"shorter_side: found {shorter_side}, allowed: {allowed}")
        self.root, self.frame = Path(root).expanduser(), Frame(channels, size, size, fit, shorter_side)
        self.cache = None if cache is None else Path(cache).expanduser()
        if self.cache is not None and self.cache.exists() and not self.cache.is_dir():
            raise ValueError(f"cache: found {cache!r}, which is not a folder")
        if not self.root.is_dir():
            raise ValueError(f"root: found {root!r}: there is no such folder: {self.root.resolve()}")
        splits = {name for name in ("train", "val", "test") if (self.root / name).is_dir()}
        self.train = self.root / "train" if "train" in splits and len(splits) > 1 else self.root
        held_out = [self.root / name for name in ("test", "val") if name in splits and self.train != self.root]
        self.test = held_out[0] if held_out else None
        self.val = held_out[1] if len(held_out) > 1 else None
        self.classes = class_folders(self.train)
        for folder in held_out:
            if unknown := [name for name in class_folders(folder) if name not in self.classes]:
                raise ValueError(f"root: {folder} has the class {unknown[0]!r}, which {self.train} does not have")
        self.spec = Spec(
            task="classification",
            in_shape=(channels, size, size),
            out_features=len(self.classes),
            classes=self.classes,
            mean=MEAN[channels],
            std=STD[channels],
            has_test=self.test is not None,
            frame=self.frame,
        )

    def load(self) -> Pool:
        """Return uint8 images [channels, size, size], to be read one at a time, and class indices [N].

        Raises:
            DataError: a class has no images, or the cache cannot be written.
        """
        return Pool(
            self._list(self.train),
            None if self.test is None else self._list(self.test),
            None if self.val is None else self._list(self.val),
        )

    def _list(self, folder: Path) -> Samples:
        names: list[str] = []
        counts: list[int] = []
        for class_name in self.classes:
            found = names_below(folder / class_name, SUFFIXES) if (folder / class_name).is_dir() else []
            if not found and folder == self.train:
                raise DataError(f"{folder / class_name}: contains no PNG, JPEG or WebP files")
            names += [f"{class_name}/{name}" for name in found]
            counts.append(len(found))
        targets = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        pictures = Pictures(Listing(folder, names), self.frame)
        return Samples(pictures if self.cache is None else cached(pictures, self.cache), targets)


def class_folders(folder: Path) -> tuple[str, ...]:
    """Return the names of the class folders, sorted.

    Raises:
        ValueError: the folder contains none.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise ValueError(f"root: {folder} contains no class folders")
    return tuple(names)
