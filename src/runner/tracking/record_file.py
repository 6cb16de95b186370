"""TensorBoard's record format: length, checksum, bytes, checksum (TFRecord; CRC-32C of RFC 3720, masked).

TensorBoard's own writer is the same, but to import it takes half a second.
"""

import struct
from functools import cache
from typing import BinaryIO

POLYNOMIAL = 0x82F63B78  # Castagnoli's, bits reversed
MASK = 0xA282EAD8


def write_record(file: BinaryIO, data: bytes) -> None:
    """Appends one record."""
    header = struct.pack("<Q", len(data))
    file.write(header + struct.pack("<I", masked_crc(header)) + data + struct.pack("<I", masked_crc(data)))


def masked_crc(data: bytes) -> int:
    """The checksum, rotated and shifted so that a checksum of data with checksums in it stays a good one."""
    crc, table = 0xFFFFFFFF, _table()
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + MASK) & 0xFFFFFFFF


@cache
def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table
