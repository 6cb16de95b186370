import gzip
import re
from pathlib import Path

import pytest
import torch

from helpers import idx
from runner.dataset.idx import read_idx
from runner.errors import DataError

CUBE = torch.arange(2 * 3 * 4, dtype=torch.uint8).view(2, 3, 4)


@pytest.mark.parametrize("name", ["cube", "cube.gz"])
def test_round_trip(tmp_path: Path, name: str) -> None:
    data = idx(CUBE)
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    found = read_idx(tmp_path / name, dims=3)
    assert found.dtype == torch.uint8
    assert torch.equal(found, CUBE)
    found += 1  # the result is writable


def test_reads_a_file_written_by_hand(tmp_path: Path) -> None:
    (tmp_path / "labels").write_bytes(bytes.fromhex("00000801 00000003 070209"))
    assert read_idx(tmp_path / "labels", dims=1).tolist() == [7, 2, 9]


def test_file_without_items_is_read(tmp_path: Path) -> None:
    (tmp_path / "none").write_bytes(idx(CUBE[:0]))
    assert read_idx(tmp_path / "none", dims=3).shape == (0, 3, 4)


@pytest.mark.parametrize("name", ["cube", "cube.gz"])
def test_file_truncated_at_any_byte_is_reported_with_its_path(tmp_path: Path, name: str) -> None:
    data = idx(CUBE)
    whole = gzip.compress(data) if name.endswith(".gz") else data
    for length in range(len(whole)):
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(DataError, match=re.escape(str(tmp_path / name))):
            read_idx(tmp_path / name, dims=3)


def test_file_with_extra_bytes_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "cube").write_bytes(idx(CUBE) + b"x")
    with pytest.raises(DataError, match=r"cube: damaged: 41 bytes, expected 40 for shape \[2, 3, 4\]"):
        read_idx(tmp_path / "cube", dims=3)


@pytest.mark.parametrize("magic", ["00000802", "00000903", "01000803", "00000d03", "1f8b0803"])
def test_another_format_is_rejected(tmp_path: Path, magic: str) -> None:
    (tmp_path / "cube").write_bytes(bytes.fromhex(magic) + idx(CUBE)[4:])
    with pytest.raises(DataError, match="cube: not an IDX file with 3 dimensions: it starts with"):
        read_idx(tmp_path / "cube", dims=3)


def test_flipped_byte_in_a_gzipped_file_is_detected(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(idx(CUBE)))
    whole[len(whole) // 2] ^= 1
    (tmp_path / "cube.gz").write_bytes(whole)
    with pytest.raises(DataError, match=r"cube\.gz: "):
        read_idx(tmp_path / "cube.gz", dims=3)


@pytest.mark.parametrize("name", ["missing", "missing.gz", "."])
def test_missing_file_is_reported_with_its_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"{re.escape(str(tmp_path / name))}: cannot be read"):
        read_idx(tmp_path / name, dims=3)
