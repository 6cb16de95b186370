import re
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from runner.data.batches import Batches
from runner.data.sources import InMemory, Source
from runner.data.splits import split
from runner.data.streamed import Streamed
from runner.dataset.base import Samples
from runner.dataset.image_folder import ImageFolder
from runner.errors import DataError

CPU = torch.device("cpu")


def paint(path: Path, color: tuple[int, int, int], size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)


def tree(root: Path, count: int = 3) -> None:
    """Write `count` images for each of two classes. The images differ in color."""
    for number in range(count):
        paint(root / "cat" / f"{number}.png", (200, 0, number))
        paint(root / "dog" / "deep" / "er" / f"{number}.JPG", (0, 200, 0))


def read(samples: Samples) -> Tensor:
    return torch.stack([samples.inputs[index] for index in range(len(samples.targets))])


def test_folders_are_classes_and_files_are_read_on_demand(tmp_path: Path) -> None:
    tree(tmp_path)
    (tmp_path / "cat" / "notes.txt").write_text("not a picture, and not named like one")
    (tmp_path / "list.csv").touch()
    (tmp_path / ".cache").mkdir()
    dataset = ImageFolder(str(tmp_path), size=8)
    samples, test, val = dataset.load()
    assert (test, val, dataset.spec.has_test) == (None, None, False)
    assert (dataset.spec.classes, dataset.spec.out_features) == (("cat", "dog"), 2)
    assert samples.targets.tolist() == [0, 0, 0, 1, 1, 1]
    assert not isinstance(samples.inputs, Tensor)
    pictures = read(samples)
    assert (pictures.shape[1:], pictures.dtype) == (dataset.spec.in_shape, torch.uint8)
    assert pictures[2].amax((1, 2)).tolist() == pictures[2].amin((1, 2)).tolist() == [200, 0, 2]
    assert (pictures[3].amax((1, 2)) - torch.tensor([0, 200, 0])).abs().max() <= 3  # JPEG is not exact


def test_images_have_the_given_size_and_channels(tmp_path: Path) -> None:
    paint(tmp_path / "a" / "wide.png", (255, 255, 255), size=(30, 10))
    Image.new("L", (5, 5), 100).save(tmp_path / "a" / "grey.png")
    Image.new("P", (4, 9)).save(tmp_path / "a" / "palette.png")
    Image.new("RGBA", (4, 9), (1, 2, 3, 4)).save(tmp_path / "a" / "transparent.png")
    Image.fromarray(np.full((6, 6), 0x8123, dtype=np.uint16)).save(tmp_path / "a" / "deep.png")
    channels: Literal[1, 3]
    for channels in (1, 3):
        dataset = ImageFolder(str(tmp_path), size=16, channels=channels)
        pictures = read(dataset.load().samples)
        assert pictures.shape == (5, channels, 16, 16)
        deep, grey, _, transparent, wide = pictures
        assert (int(deep.min()), int(deep.max())) == (0x81, 0x81)
        assert grey.unique().tolist() == [100]
        assert wide.unique().tolist() == [255]
        assert transparent[:, 0, 0].tolist() == ([2] if channels == 1 else [1, 2, 3])
        assert len(dataset.spec.mean) == len(dataset.spec.std) == channels


@pytest.mark.parametrize(
    ("folders", "sizes"),
    [
        (["train", "test"], (6, 4, None)),
        (["train", "val"], (6, 4, None)),
        (["train", "val", "test"], (6, 4, 2)),
    ],
)
def test_split_folders_are_used(
    tmp_path: Path, folders: list[str], sizes: tuple[int | None, int | None, int | None]
) -> None:
    for folder in folders:
        tree(tmp_path / folder, 3 if folder == "train" else 1 if "test" in folders and folder == "val" else 2)
    dataset = ImageFolder(str(tmp_path), size=8)
    pool = dataset.load()
    assert dataset.spec.has_test
    assert dataset.spec.classes == ("cat", "dog")
    found = tuple(None if part is None else len(part.targets) for part in (pool.samples, pool.test, pool.val))
    assert found == sizes
    splits = split(pool, seed=0, val_share=0.4, test_share=None, fold=None)
    assert len(splits.test.targets) == 4
    assert (len(splits.val.targets), len(splits.train.targets)) == ((2, 4) if sizes[2] is None else (2, 6))
    folds = [split(pool, seed=0, val_share=0.4, test_share=None, fold=(fold, 2)) for fold in range(2)]
    assert sum(len(each.test.targets) for each in folds) == sum(size or 0 for size in sizes)
    for each in folds:
        assert read(each.test).shape == (len(each.test.targets), 3, 8, 8)
        assert torch.equal(read(each.test)[:, 0].flatten(1).amax(1) < 100, each.test.targets == 1)


@pytest.mark.parametrize(("fit", "corner"), [("crop", 0), ("stretch", 255)])
def test_proportions_are_kept_unless_the_picture_is_stretched(
    tmp_path: Path, fit: Literal["crop", "stretch"], corner: int
) -> None:
    picture = Image.new("L", (24, 8), 255)  # white, with a black square in the middle
    picture.paste(0, (8, 0, 16, 8))
    (tmp_path / "a").mkdir()
    picture.save(tmp_path / "a" / "wide.webp")
    dataset = ImageFolder(str(tmp_path), size=8, fit=fit)
    assert abs(int(dataset.load().samples.inputs[0][0, 0, 0]) - corner) < 8


def test_train_folder_without_other_splits_is_a_class(tmp_path: Path) -> None:
    tree(tmp_path / "train")
    tree(tmp_path / "bus")
    assert ImageFolder(str(tmp_path)).spec.classes == ("bus", "train")


@pytest.mark.parametrize("kind", range(3))
def test_all_sources_give_equal_batches(tmp_path: Path, kind: int) -> None:
    tree(tmp_path, count=5)
    dataset = ImageFolder(str(tmp_path), size=8)
    samples = dataset.load().samples
    ways: list[Source] = [InMemory(samples, CPU), Streamed(samples, CPU, 0), Streamed(samples, CPU, 2)]
    first, other = (list(Batches(way, dataset.spec, 4, seed=0).epoch(1)) for way in (ways[0], ways[kind]))
    assert all(torch.equal(a, b) and torch.equal(c, d) for (a, c), (b, d) in zip(first, other, strict=True))


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"no picture at all"])
def test_file_that_is_not_an_image_is_reported_with_its_path(tmp_path: Path, content: bytes) -> None:
    tree(tmp_path)
    bad = tmp_path / "cat" / "bad.png"
    bad.write_bytes(content)
    samples = ImageFolder(str(tmp_path), size=8).load().samples
    with pytest.raises(DataError, match=f"{re.escape(str(bad))}: cannot be read as an image: "):
        read(samples)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_file_is_reported_with_its_path(tmp_path: Path, suffix: str) -> None:
    paint(tmp_path / "a" / f"cut.{suffix}", (1, 2, 3), size=(64, 64))
    path = tmp_path / "a" / f"cut.{suffix}"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=f"{re.escape(str(path))}: cannot be read as an image: "):
        read(ImageFolder(str(tmp_path)).load().samples)


# torch waits 5 seconds for the worker
@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_error_in_a_worker_is_reported_in_one_line(tmp_path: Path, workers: int) -> None:
    tree(tmp_path)
    (tmp_path / "cat" / "bad.png").touch()
    dataset = ImageFolder(str(tmp_path), size=8)
    with pytest.raises(DataError) as caught:
        list(Batches(Streamed(dataset.load().samples, CPU, workers), dataset.spec, 4).epoch())
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'cat' / 'bad.png'}: cannot be read as an image: ")
    assert "\n" not in message


def test_class_without_images_is_reported_with_its_path(tmp_path: Path) -> None:
    tree(tmp_path)
    (tmp_path / "emu").mkdir()
    with pytest.raises(DataError, match=f"{re.escape(str(tmp_path / 'emu'))}: contains no PNG, JPEG or WebP files"):
        ImageFolder(str(tmp_path)).load()


def test_invalid_root_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"root: found 'no': there is no such folder: {Path.cwd()}/no"):
        ImageFolder("no")
    with pytest.raises(ValueError, match=f"root: {re.escape(str(tmp_path))} contains no class folders"):
        ImageFolder(str(tmp_path))
    tree(tmp_path / "train")
    tree(tmp_path / "test")
    with pytest.raises(ValueError, match="size must be at least 1, found 0"):
        ImageFolder(str(tmp_path), size=0)
    with pytest.raises(ValueError, match="shorter_side: found 4, allowed: null, or at least size=8"):
        ImageFolder(str(tmp_path), size=8, shorter_side=4)
    with pytest.raises(ValueError, match="shorter_side: found 9, allowed: null with fit=stretch"):
        ImageFolder(str(tmp_path), size=8, fit="stretch", shorter_side=9)
    (tmp_path / "test" / "eel").mkdir()
    with pytest.raises(ValueError, match=r"test has the class 'eel', which .*train does not have"):
        ImageFolder(str(tmp_path))
