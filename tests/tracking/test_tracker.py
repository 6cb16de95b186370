import csv
import io
import math
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util import tensor_util

from runner import cli
from runner.config.schema import Config, flatten
from runner.tracking import tracker as tracking
from runner.tracking.results import Results
from runner.tracking.tracker import Bar, Csv, Tracker, cut_back, epoch_line
from runner.training.build import build


def bits(value: float) -> bytes:
    return struct.pack("d", value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.floats(allow_nan=False))
def test_reading_the_table_gives_back_the_same_bits(tmp_path: Path, value: float) -> None:
    (tmp_path / "metrics.csv").unlink(missing_ok=True)
    Csv(tmp_path / "metrics.csv", ["epoch", "train/loss"]).write({"epoch": 1, "train/loss": value})
    with (tmp_path / "metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["epoch"] == "1"
    assert bits(float(row["train/loss"])) == bits(value)


def test_the_table_has_one_head_also_when_it_is_continued(tmp_path: Path) -> None:
    for epoch in (1, 2):
        Csv(tmp_path / "metrics.csv", ["epoch", "val/loss", "lr"]).write({"epoch": epoch, "lr": 0.1})
    assert (tmp_path / "metrics.csv").read_text().splitlines() == ["epoch,val/loss,lr", "1,,0.1", "2,,0.1"]


def test_a_table_that_cannot_be_written_warns_once_and_training_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = Csv(tmp_path / "nowhere" / "metrics.csv", ["epoch"])
    for epoch in (1, 2):
        table.write({"epoch": epoch})
    assert caplog.text.count("metrics.csv: cannot be written") == 1


def test_what_came_after_the_checkpoint_is_cut_back(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").mkdir()
    files = {"metrics.csv": "head,1,2", "tensorboard/events.1": "abcdef", "tensorboard/events.2": "later"}
    for name, text in {**files, "run.log": "the log", "tensorboard/notes": "mine"}.items():
        (tmp_path / name).write_text(text)
    cut_back(tmp_path, {"metrics.csv": 6, "tensorboard/events.1": 6})
    found = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {
        "metrics.csv": "head,1",
        "tensorboard/events.1": "abcdef",
        "run.log": "the log",
        "tensorboard/notes": "mine",
    }


def test_a_file_that_is_shorter_than_noted_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("head")
    cut_back(tmp_path, {"metrics.csv": 100, "tensorboard/events.gone": 5})
    assert (tmp_path / "metrics.csv").read_text() == "head"


def test_nested_values_get_dotted_keys() -> None:
    nested = {"seed": 0, "trainer": {"epochs": None, "checkpoint": {"keep_last": 2}}, "model": {"hidden": [1, 2]}}
    assert flatten(nested) == {
        "seed": 0,
        "trainer.epochs": None,
        "trainer.checkpoint.keep_last": 2,
        "model.hidden": [1, 2],
    }


def test_an_epoch_is_one_line_for_a_person() -> None:
    row = {"epoch": 12, "step": 99, "train/loss": 0.12344, "train/accuracy": 0.9712, "val/loss": 0.2, "lr": 0.01}
    assert epoch_line({**row, "seconds": 0.12}) == ("epoch  12  loss 0.1234 (val 0.2)  accuracy 0.9712  lr 0.01  0.1 s")


def test_an_epoch_of_the_default_run_fits_80_columns() -> None:
    row = {"epoch": 15, "train/loss": 2.6871e-05, "train/accuracy": 0.99881, "val/loss": 2.6871e-05}
    line = epoch_line({**row, "val/accuracy": 0.99881, "lr": 0.01, "seconds": 0.12}, with_rate=False)
    assert len(line) <= 80
    assert "lr" not in line


def test_an_epoch_without_validation_says_nothing_of_it() -> None:
    row = {"epoch": 1, "train/loss": math.nan, "lr": 1e-5, "seconds": 61.0}
    assert epoch_line(row) == "epoch   1  loss nan  lr 1e-05  61.0 s"


def test_the_bar_shows_the_step_and_the_newest_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr(tracking, "console", screen)
    bar = Bar(total_steps=40, samples=32)
    bar.show({"train/loss": 0.51239, "train/accuracy": 0.75, "lr": 0.01})
    bar.show({"val/loss": 9.0})
    bar._shown -= 1
    bar.advance(7)
    (task,) = bar.progress.tasks
    bar.progress.stop()
    assert (task.completed, task.total) == (7, 40)
    assert task.fields["newest"] == "train/loss 0.5124  train/accuracy 0.75"


def test_histograms_count_every_weight(runner: Callable[..., Path]) -> None:
    run = runner("model.hidden=[4]", "trainer.epochs=1")
    weights = torch.load(run / "checkpoints" / "best.pt", weights_only=True)["model"]
    (path,) = (run / "tensorboard").glob("events.*")
    values = [value for event in EventFileLoader(str(path)).Load() for value in event.summary.value]
    spread = [value for value in values if value.metadata.plugin_data.plugin_name == "histograms"]
    for name, tensor in weights.items():
        first, last = (tensor_util.make_ndarray(each.tensor) for each in spread if each.tag == f"weights/{name}")
        assert last[:, 2].sum() == first[:, 2].sum() == tensor.numel()
        assert float(last[0, 0]) == pytest.approx(float(tensor.min()), abs=1e-6)
        assert float(last[-1, 1]) == pytest.approx(float(tensor.max()), abs=1e-6)


def test_the_first_row_of_a_resumed_run_replaces_those_of_its_epoch_and_later(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"epoch,step\r\n1,6\r\n2,8\r\n3,18\r\n4,2")  # the last one torn
    table = Csv(path, ["epoch", "step"])
    table.write({"epoch": 2, "step": 12})
    table.write({"epoch": 3, "step": 18})
    assert path.read_bytes() == b"epoch,step\r\n1,6\r\n2,12\r\n3,18\r\n"


def test_a_parameter_without_numbers_has_no_histogram(workdir: Path, tiny: Callable[..., Config]) -> None:
    parts = build(tiny())
    parts.model.register_parameter("empty", torch.nn.Parameter(torch.empty(0, 3)))
    tracker = Tracker(workdir, parts, Results.open(workdir, "name", 0, []))
    tracker.weights(0)
    tracker.close()
    (path,) = (workdir / "tensorboard").glob("events.*")
    tags = [value.tag for event in EventFileLoader(str(path)).Load() for value in event.summary.value]
    assert len(tags) == 4
    assert "weights/empty" not in tags


@pytest.mark.parametrize("name", ["run.log", ".lock", "metrics.csv", "tensorboard/events.x", "checkpoints/last.pt"])
def test_a_run_folder_with_a_link_in_it_is_not_resumed(
    workdir: Path, runner: Callable[..., Path], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    folder = runner("trainer.epochs=1")
    (workdir / "mine").write_text("my own file")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(workdir / "mine")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert cli.main(["resume", str(folder), "trainer.epochs=2"]) == 2
    assert f"{folder / name} is a symbolic link" in capsys.readouterr().err
    assert (workdir / "mine").read_text() == "my own file"
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_links_are_not_cut_back(tmp_path: Path) -> None:
    (tmp_path / "run" / "tensorboard").mkdir(parents=True)
    (tmp_path / "mine").write_text("my own file")
    (tmp_path / "run" / "tensorboard" / "events.x").symlink_to(tmp_path / "mine")
    cut_back(tmp_path / "run", {"tensorboard/events.x": 1})
    assert (tmp_path / "mine").read_text() == "my own file"
