"""Images in one folder per class."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from runner.dataset.base import Pool, Samples, Spec
from runner.dataset.picture import picture_files, read_picture
from runner.errors import DataError
from runner.registry import DATASETS

# Mean and standard deviation of ImageNet by number of channels, as torchvision's models expect them.
MEAN: dict[int, tuple[float, ...]] = {1: (0.449,), 3: (0.485, 0.456, 0.406)}
STD: dict[int, tuple[float, ...]] = {1: (0.226,), 3: (0.229, 0.224, 0.225)}


@DATASETS.register("image_folder")
class ImageFolder:
    """PNG and JPEG images in one folder per class, at any depth below it, read one at a time.

    The class folders are either in `root`, or in root/train with further splits in root/test, root/val or both. If
    there is only root/val, it is the test split.

    Args:
        root: folder of the images.
        size: height and width to resize to, in pixels.
        channels: 3 for color, 1 for gray images.

    Raises:
        ValueError: `size` is below 1.
        ValueError: `root` does not exist or has no class folders, or a class is missing in root/train.
    """

    def __init__(self, root: str, size: int = 64, channels: Literal[1, 3] = 3) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, found {size}")
        self.root, self.size, self.channels = Path(root).expanduser(), size, channels
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
        )

    def load(self) -> Pool:
        """Return uint8 images [channels, size, size], to be read one at a time, and class indices [N].

        Raises:
            DataError: a class has no images.
        """
        return Pool(
            self._list(self.train),
            None if self.test is None else self._list(self.test),
            None if self.val is None else self._list(self.val),
        )

    def _list(self, folder: Path) -> Samples:
        paths: list[Path] = []
        targets: list[int] = []
        for number, name in enumerate(self.classes):
            files = picture_files(folder / name)
            if not files and folder == self.train:
                raise DataError(f"{folder / name}: contains no PNG or JPEG files")
            paths += files
            targets += [number] * len(files)
        return Samples(Pictures(tuple(paths), self.size, self.channels), torch.tensor(targets, dtype=torch.long))


def class_folders(folder: Path) -> tuple[str, ...]:
    """Return the names of the class folders, sorted.

    Raises:
        ValueError: the folder contains none.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise ValueError(f"root: {folder} contains no class folders")
    return tuple(names)


@dataclass(frozen=True)
class Pictures:
    """Image files as inputs: `pictures[i]` reads a uint8 image [channels, size, size]."""

    paths: tuple[Path, ...]
    size: int
    channels: int
    draws: ClassVar[bool] = False  # reading an image draws no random numbers

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return read_picture(self.paths[index], (self.channels, self.size, self.size))
