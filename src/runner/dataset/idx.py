"""The IDX format of the MNIST files (LeCun, Cortes and Burges)."""

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from runner.errors import DataError


def read_idx(path: Path, dims: int) -> Tensor:
    """Read an IDX file of unsigned bytes, plain or compressed with gzip.

    Args:
        path: file to read.
        dims: expected number of dimensions.

    Returns:
        A uint8 tensor.

    Raises:
        DataError: the file is damaged or has another format; the message names it.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    magic = bytes([0, 0, 8, dims])  # 8 stands for unsigned bytes
    if data[:4] != magic:
        raise DataError(
            f"{path}: not an IDX file with {dims} dimensions: it starts with {data[:4]!r}, expected {magic!r}"
        )
    header = 4 + 4 * dims
    if len(data) < header:
        raise DataError(f"{path}: damaged: {len(data)} bytes, expected at least {header}")
    shape = np.frombuffer(data, dtype=">u4", count=dims, offset=4).tolist()
    if len(data) != header + prod(shape):
        raise DataError(f"{path}: damaged: {len(data)} bytes, expected {header + prod(shape)} for shape {shape}")
    return torch.from_numpy(np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape).copy())
