import math
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import scalars
from runner import cli
from runner.tracking import tracker
from runner.tracking.recorded import read_scalars, same


def test_scalars_of_all_event_files_are_read(runner: Callable[..., Path]) -> None:
    folder = runner("trainer.log_every=3")
    found = read_scalars(folder)
    assert list(found) == sorted(found)
    assert {(tag, step): value for step, values in found.items() for tag, value in values.items()} == {
        (tag, step): value for tag, step, value in scalars(folder)
    }


def test_run_of_an_earlier_version_continues_in_its_folder_of_events(
    runner: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = scalars(runner("trainer.log_every=3", "trainer.epochs=3"))
    with monkeypatch.context() as patch:
        patch.setattr(tracker, "events_folder", lambda folder: folder / "tensorboard")
        folder = runner("trainer.log_every=3")
    assert not list(folder.glob("events.*"))
    assert read_scalars(folder)
    assert cli.main(["resume", str(folder), "trainer.epochs=3"]) == 0
    assert not list(folder.glob("events.*"))  # TensorBoard would list the run twice
    assert set(scalars(folder)) == set(undisturbed)


def test_csv_is_read_without_tensorboard(runner: Callable[..., Path]) -> None:
    found = read_scalars(runner("logger=none"))
    assert list(found) == [6, 12]
    assert {"train/loss", "val/accuracy", "lr"} <= found[6].keys()
    assert not {"epoch", "seconds"} & found[6].keys()


def test_run_without_records_has_no_scalars(tmp_path: Path) -> None:
    assert read_scalars(tmp_path) == {}


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [(0.5, 0.5, True), (0.5, 0.5000001, False), (math.nan, math.nan, True), (0.0, -0.0, False), (1.0, math.nan, False)],
)
def test_values_are_compared_bit_for_bit(left: float, right: float, expected: bool) -> None:
    assert same(left, right) == expected
