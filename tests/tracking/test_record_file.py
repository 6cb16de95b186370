import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from tensorboard.summary.writer.record_writer import RecordWriter

from runner.tracking.record_file import masked_crc, write_record


@given(data=st.binary(max_size=500))
def test_records_equal_those_of_tensorboard(data: bytes) -> None:
    ours, theirs = io.BytesIO(), io.BytesIO()
    write_record(ours, data)
    RecordWriter(theirs).write(data)
    assert ours.getvalue() == theirs.getvalue()
    assert masked_crc(data) == masked_crc32c(data)


@pytest.mark.parametrize(("data", "crc"), [(b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA)])
def test_checksum_has_the_values_of_rfc_3720(tmp_path: Path, data: bytes, crc: int) -> None:
    unmasked = (masked_crc(data) - 0xA282EAD8) & 0xFFFFFFFF
    assert ((unmasked << 15) | (unmasked >> 17)) & 0xFFFFFFFF == crc
