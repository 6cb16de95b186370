import gzip
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from helpers import idx
from runner.dataset import mnist
from runner.dataset.download import Published
from runner.dataset.mnist import FILES, MNIST
from runner.errors import DataError

IMAGES = torch.randint(0, 256, (7, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
LABELS = torch.tensor([3, 1, 4, 1, 5, 9, 2], dtype=torch.uint8)


@pytest.fixture(autouse=True)
def _no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(files: dict[str, Published], folder: Path) -> None:
        raise AssertionError(f"{list(files)} would be downloaded")

    monkeypatch.setattr(mnist, "download", refuse)


def write(folder: Path, suffix: str = "") -> None:
    """Write seven training and three test images in the publisher's format."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "train-images-idx3-ubyte": IMAGES,
        "train-labels-idx1-ubyte": LABELS,
        "t10k-images-idx3-ubyte": IMAGES[:3],
        "t10k-labels-idx1-ubyte": LABELS[:3],
    }
    for name, values in contents.items():
        (folder / (name + suffix)).write_bytes(gzip.compress(idx(values)) if suffix else idx(values))


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("place", [".", "MNIST/raw"])
def test_plain_and_gzipped_files_are_found_in_both_folders(tmp_path: Path, place: str, suffix: str) -> None:
    write(tmp_path / place, suffix)
    dataset = MNIST(str(tmp_path))
    samples, test, _ = dataset.load()
    assert test is not None
    assert isinstance(samples.inputs, Tensor)
    assert isinstance(test.inputs, Tensor)
    assert torch.equal(samples.inputs, IMAGES[:, None])
    assert torch.equal(test.inputs, IMAGES[:3, None])
    assert (samples.targets.tolist(), test.targets.tolist()) == ([3, 1, 4, 1, 5, 9, 2], [3, 1, 4])
    assert samples.targets.dtype == torch.int64


def test_files_may_be_spread_over_both_folders(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path / "MNIST" / "raw", ".gz")
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    assert len(MNIST(str(tmp_path)).load().samples.targets) == 7


def test_tilde_in_root_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "data")
    assert len(MNIST("~/data").load().samples.targets) == 7


def test_images_are_resized(tmp_path: Path) -> None:
    write(tmp_path)
    dataset = MNIST(str(tmp_path), size=32)
    inputs = dataset.load().samples.inputs
    assert isinstance(inputs, Tensor)
    assert inputs.shape[1:] == dataset.spec.in_shape == (1, 32, 32)
    assert inputs.dtype == torch.uint8


@pytest.mark.parametrize(
    ("name", "values", "problem"),
    [
        ("train-labels-idx1-ubyte", LABELS[:6], "train-labels-idx1-ubyte: 6 labels for the 7 images of .*train-images"),
        ("t10k-images-idx3-ubyte", IMAGES[:2], "t10k-labels-idx1-ubyte: 3 labels for the 2 images of .*t10k-images"),
        ("train-labels-idx1-ubyte", LABELS + 1, "train-labels-idx1-ubyte: found label 10; allowed: 0 to 9"),
        ("t10k-labels-idx1-ubyte", LABELS[:3] + 252, "t10k-labels-idx1-ubyte: found label 255"),
        ("train-images-idx3-ubyte", LABELS, "train-images-idx3-ubyte: not an IDX file with 3 dimensions"),
    ],
)
def test_damaged_file_is_reported_with_its_path(tmp_path: Path, name: str, values: Tensor, problem: str) -> None:
    write(tmp_path)
    (tmp_path / name).write_bytes(idx(values))
    with pytest.raises(DataError, match=problem):
        MNIST(str(tmp_path)).load()


@pytest.mark.parametrize("name", FILES)
def test_truncated_file_is_reported_with_its_path(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=f"{re.escape(str(path))}: damaged"):
        MNIST(str(tmp_path)).load()


def test_only_missing_files_are_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[list[str]] = []

    def fetch(files: dict[str, Published], folder: Path) -> None:
        wanted.append(list(files))
        write(folder, ".gz")

    monkeypatch.setattr(mnist, "download", fetch)
    write(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").unlink()
    for _ in range(2):
        assert len(MNIST(str(tmp_path)).load().samples.targets) == 7
    assert wanted == [["t10k-images-idx3-ubyte"]]
    assert len(list((tmp_path / "MNIST" / "raw").iterdir())) == 4


def test_constructor_reads_and_creates_nothing(tmp_path: Path) -> None:
    spec = MNIST(str(tmp_path / "new"), size=32).spec
    assert (spec.in_shape, spec.out_features, len(spec.classes)) == ((1, 32, 32), 10, 10)
    assert list(tmp_path.iterdir()) == []


def test_size_below_one_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="size must be at least 1, found 0"):
        MNIST(str(tmp_path), size=0)
