import hashlib
import io
import re
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from runner.dataset import cifar10
from runner.dataset.cifar10 import ARCHIVE, CIFAR10, FOLDER, PUBLISHED, RECORD, TEST, TRAIN
from runner.dataset.download import Published
from runner.errors import DataError

NAMES = TRAIN + TEST
IMAGES = torch.randint(0, 256, (6, 2, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture(autouse=True)
def _no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(files: Mapping[str, Published], folder: Path) -> None:
        raise DataError(f"{list(files)} would be downloaded to {folder}")

    monkeypatch.setattr(cifar10, "download", refuse)


def trust(monkeypatch: pytest.MonkeyPatch, archive: Path) -> None:
    """Accept the archive as the published one."""
    monkeypatch.setattr(cifar10, "PUBLISHED", PUBLISHED._replace(md5=hashlib.md5(archive.read_bytes()).hexdigest()))


def contents(number: int) -> bytes:
    """Return two records in the publisher's format, of the classes `number` and 9."""
    return b"".join(
        bytes([label]) + image.numpy().tobytes() for label, image in zip((number, 9), IMAGES[number], strict=True)
    )


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(NAMES):
        (folder / name).write_bytes(contents(number))


def pack(archive: Path, *members: tuple[tarfile.TarInfo, bytes]) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def whole(archive: Path, folder: str = FOLDER) -> None:
    pack(archive, *((tarfile.TarInfo(f"{folder}/{name}"), contents(number)) for number, name in enumerate(NAMES)))


@pytest.mark.parametrize("place", [".", FOLDER])
def test_files_are_found_in_both_folders(tmp_path: Path, place: str) -> None:
    write(tmp_path / place)
    dataset = CIFAR10(str(tmp_path))
    samples, test, _ = dataset.load()
    assert test is not None
    assert isinstance(samples.inputs, Tensor)
    assert isinstance(test.inputs, Tensor)
    assert torch.equal(samples.inputs, IMAGES[:5].flatten(0, 1))
    assert torch.equal(test.inputs, IMAGES[5])
    assert samples.targets.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
    assert test.targets.tolist() == [5, 9]
    assert samples.targets.dtype == torch.int64
    assert samples.inputs.shape[1:] == dataset.spec.in_shape


def test_url_is_https_and_has_a_checksum() -> None:
    assert (PUBLISHED.url[:8], len(bytes.fromhex(PUBLISHED.md5))) == ("https://", 16)


def test_images_are_resized(tmp_path: Path) -> None:
    write(tmp_path)
    inputs = CIFAR10(str(tmp_path), size=8).load().samples.inputs
    assert isinstance(inputs, Tensor)
    assert (inputs.shape, inputs.dtype) == ((10, 3, 8, 8), torch.uint8)
    with pytest.raises(ValueError, match="size must be at least 1, found 0"):
        CIFAR10(str(tmp_path), size=0)


def test_existing_archive_is_extracted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole(tmp_path / ARCHIVE)
    trust(monkeypatch, tmp_path / ARCHIVE)
    assert len(CIFAR10(str(tmp_path)).load().samples.targets) == 10
    (tmp_path / ARCHIVE).unlink()
    assert len(CIFAR10(str(tmp_path)).load().samples.targets) == 10
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir() if path.suffix == ".bin") == NAMES


def test_missing_files_are_downloaded_and_extracted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def fetch(files: Mapping[str, Published], folder: Path) -> None:
        asked.append([*files, *(source.url for source in files.values())])
        whole(folder / ARCHIVE)
        trust(monkeypatch, folder / ARCHIVE)

    monkeypatch.setattr(cifar10, "download", fetch)
    write(tmp_path / FOLDER)
    (tmp_path / FOLDER / TEST[0]).unlink()
    assert len(CIFAR10(str(tmp_path)).load().samples.targets) == 10
    assert asked == [[f"{FOLDER}/: {TEST[0]}", PUBLISHED.url]]


def test_failed_download_names_folder_and_files(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        CIFAR10(str(tmp_path)).load()
    for name in (*NAMES, str(tmp_path)):
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda data: data[:-1], f"damaged: 6145 bytes, expected a multiple of {RECORD}"),
        (lambda data: data + b"x", "damaged: 6147 bytes"),
        (lambda data: b"", "damaged: 0 bytes"),
        (lambda data: b"\x0a" + data[1:], "found label 10; allowed: 0 to 9"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_damaged_file_is_reported_with_its_path(
    tmp_path: Path, name: str, change: Callable[[bytes], bytes], problem: str
) -> None:
    write(tmp_path)
    (tmp_path / name).write_bytes(change((tmp_path / name).read_bytes()))
    with pytest.raises(DataError, match=f"{re.escape(str(tmp_path / name))}: {problem}"):
        CIFAR10(str(tmp_path)).load()


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("length", [0, 10, 20_000])
def test_damaged_archive_is_reported_with_its_path_and_leaves_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int, trusted: bool
) -> None:
    whole(tmp_path / ARCHIVE)
    (tmp_path / ARCHIVE).write_bytes((tmp_path / ARCHIVE).read_bytes()[:length])
    if trusted:
        trust(monkeypatch, tmp_path / ARCHIVE)
    with pytest.raises(DataError, match=f"{ARCHIVE}: cannot be extracted: {'' if trusted else 'damaged: its MD5'}"):
        CIFAR10(str(tmp_path)).load()
    assert list(tmp_path.glob("**/*.bin")) == []


def test_archive_with_other_contents_is_reported_with_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole(tmp_path / ARCHIVE, folder="cifar-100")
    trust(monkeypatch, tmp_path / ARCHIVE)
    with pytest.raises(DataError, match=f"{ARCHIVE}: cannot be extracted: .*{FOLDER}/data_batch_1.bin"):
        CIFAR10(str(tmp_path)).load()


def test_archive_cannot_write_or_link_outside_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tarfile.TarInfo(f"{FOLDER}/{NAMES[0]}")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    outside = tarfile.TarInfo("../outside.bin")
    pack(tmp_path / ARCHIVE, (outside, b"x"), (link, b""))
    trust(monkeypatch, tmp_path / ARCHIVE)
    with pytest.raises(DataError, match="is not a regular file"):
        CIFAR10(str(tmp_path)).load()
    assert not (tmp_path.parent / "outside.bin").exists()
    assert not (tmp_path / "outside.bin").exists()


def test_constructor_reads_and_creates_nothing(tmp_path: Path) -> None:
    spec = CIFAR10(str(tmp_path / "new")).spec
    assert (spec.in_shape, spec.out_features, spec.has_test) == ((3, 32, 32), 10, True)
    assert list(tmp_path.iterdir()) == []
