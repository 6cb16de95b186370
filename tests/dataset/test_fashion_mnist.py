import gzip
from pathlib import Path

import pytest
import torch
from torch import Tensor

from helpers import idx
from runner.dataset import mnist
from runner.dataset.download import Published
from runner.dataset.fashion_mnist import FILES, FashionMNIST
from runner.errors import DataError

IMAGES = torch.randint(0, 256, (5, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
LABELS = torch.tensor([9, 0, 4, 1, 5], dtype=torch.uint8)


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        values = IMAGES if "images" in name else LABELS
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx(values)))


def test_files_are_read_from_their_own_folder(tmp_path: Path) -> None:
    write(tmp_path / "FashionMNIST" / "raw")
    dataset = FashionMNIST(str(tmp_path), size=14)
    samples, test, _ = dataset.load()
    assert test is not None
    assert isinstance(samples.inputs, Tensor)
    assert samples.inputs.shape == (5, *dataset.spec.in_shape) == (5, 1, 14, 14)
    assert samples.targets.tolist() == test.targets.tolist() == LABELS.tolist()
    assert [dataset.spec.classes[label] for label in LABELS[:2]] == ["Ankle boot", "T-shirt/top"]
    assert dataset.spec.has_test


def test_files_of_mnist_in_the_same_root_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def refuse(files: dict[str, Published], folder: Path) -> None:
        asked.append(folder)
        assert files == FILES
        raise DataError("no network")

    monkeypatch.setattr(mnist, "download", refuse)
    write(tmp_path)
    write(tmp_path / "MNIST" / "raw")
    with pytest.raises(DataError, match="no network"):
        FashionMNIST(str(tmp_path)).load()
    assert asked == [tmp_path / "FashionMNIST" / "raw"]


def test_all_urls_are_https_and_have_a_checksum() -> None:
    assert len({source.md5 for source in FILES.values()}) == 4
    for name, source in FILES.items():
        assert source.url.startswith("https://")
        assert source.url.endswith(f"/{name}.gz")
        assert len(bytes.fromhex(source.md5)) == 16
