import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.tracking.metrics_csv import MetricsCsv, read_curves, read_rows


def bits(value: float) -> bytes:
    return struct.pack("d", value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.floats(allow_nan=False))
def test_numbers_are_read_back_bit_for_bit(tmp_path: Path, value: float) -> None:
    (tmp_path / "metrics.csv").unlink(missing_ok=True)
    MetricsCsv(tmp_path, ["epoch", "train/loss"]).write({"epoch": 1, "train/loss": value})
    (row,) = read_rows(tmp_path)
    assert row["epoch"] == "1"
    assert bits(float(row["train/loss"])) == bits(value)


def test_resumed_file_has_one_header(tmp_path: Path) -> None:
    for epoch in (1, 2):
        MetricsCsv(tmp_path, ["epoch", "val/loss", "lr"]).write({"epoch": epoch, "lr": 0.1})
    assert (tmp_path / "metrics.csv").read_text().splitlines() == ["epoch,val/loss,lr", "1,,0.1", "2,,0.1"]


def test_first_row_after_resume_replaces_its_epoch_and_later_ones(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"epoch,step\r\n1,6\r\n2,8\r\n3,18\r\n4,2")  # the last row is incomplete
    table = MetricsCsv(tmp_path, ["epoch", "step"])
    table.write({"epoch": 2, "step": 12})
    table.write({"epoch": 3, "step": 18})
    assert path.read_bytes() == b"epoch,step\r\n1,6\r\n2,12\r\n3,18\r\n"


def test_unwritable_file_warns_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = MetricsCsv(tmp_path / "nowhere", ["epoch"])
    for epoch in (1, 2):
        table.write({"epoch": epoch})
    assert caplog.text.count("metrics.csv: cannot be written") == 1


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00"])
def test_unreadable_file_has_no_rows(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "metrics.csv").write_bytes(content)
    assert read_rows(tmp_path) == []
    assert read_curves(tmp_path).metrics == {}


@pytest.mark.parametrize(
    ("table", "found"),
    [
        (
            "epoch,step,train/loss,val/loss,lr\n1,5,0.5,,0.1\n2,9,0.25,nan,0.1\n",
            {"train/loss": [0.5, 0.25]},
        ),
        ("epoch,train/loss\n1,abc\n", {}),
        ("epoch,train/loss\n1,0.5\n2,0.4,x\n", {"train/loss": [0.5, 0.4]}),
    ],
)
def test_curves_contain_finite_numbers(tmp_path: Path, table: str, found: dict[str, list[float | None]]) -> None:
    (tmp_path / "metrics.csv").write_text(table)
    assert read_curves(tmp_path).metrics == found


def test_curves_have_epochs_steps_and_seconds_since_the_start(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,step,val/loss,seconds\n1,5,,1.5\n2,10,0.5,2\n3,15,inf,0.5\n")
    curves = read_curves(tmp_path)
    assert curves.axes == {"epoch": [1, 2, 3], "step": [5, 10, 15], "seconds": [1.5, 3.5, 4]}
    assert curves.metrics == {"val/loss": [None, 0.5, None]}
