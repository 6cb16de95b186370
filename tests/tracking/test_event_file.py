import math
import os
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from helpers import scalars
from runner.tracking.event_file import EventFile


def test_scalars_are_written_with_their_steps(tmp_path: Path) -> None:
    board = EventFile(tmp_path)
    board.scalars({"train/loss": 0.5, "train/accuracy": 0.25}, step=3)
    board.scalars({"train/loss": math.inf}, step=4)
    board.close()
    assert scalars(tmp_path) == [("train/loss", 3, 0.5), ("train/accuracy", 3, 0.25), ("train/loss", 4, math.inf)]


def test_flushed_events_can_be_read_before_close(tmp_path: Path) -> None:
    board = EventFile(tmp_path)
    board.scalars({"train/loss": 0.5}, step=3)
    board.flush()
    assert scalars(tmp_path) == [("train/loss", 3, 0.5)]
    board.close()


def test_event_files_of_the_same_second_have_different_names(tmp_path: Path) -> None:
    for step in (1, 2):
        board = EventFile(tmp_path)
        board.scalars({"train/loss": 0.5}, step)
        board.close()
    assert len(list(tmp_path.iterdir())) == 2
    assert scalars(tmp_path) == [("train/loss", 1, 0.5), ("train/loss", 2, 0.5)]


def test_text_is_unformatted_and_hyperparameters_belong_to_the_run(tmp_path: Path) -> None:
    board = EventFile(tmp_path)
    board.text("config", "a: 1\nb: <2>")
    values = {"optim.lr": 0.1, "trainer.ema": None, "model.hidden": [1, 2], "dataset.in_memory": True}
    board.hparams(values, ["val/loss"])
    board.close()
    (path,) = tmp_path.iterdir()
    found = {value.tag: value for event in EventFileLoader(str(path)).Load() for value in event.summary.value}
    assert found["config/text_summary"].tensor.string_val == [b"    a: 1\n    b: <2>\n"]
    assert found.keys() >= {"_hparams_/experiment", "_hparams_/session_start_info"}
    content = found["_hparams_/session_start_info"].metadata.plugin_data.content
    for part in (b"optim.lr", b"None", b"[1, 2]", b"dataset.in_memory"):
        assert part in content


def test_full_disk_warns_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    board = EventFile(tmp_path)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, board._file.fileno())
    os.close(full)
    for step in range(5):
        board.scalars({"train/loss": 0.5}, step)
        board.flush()
    board.text("config", "a: 1")
    board.hparams({"seed": 0}, ["val/loss"])
    board.close()
    assert caplog.text.count("No space left on device; training continues without TensorBoard") == 1
    assert len(caplog.records) == 1


def test_folder_that_cannot_be_created_warns_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    board = EventFile(tmp_path / "file" / "run")
    board.scalars({"train/loss": 0.5}, 1)
    board.flush()
    board.close()
    assert caplog.text.count("training continues without TensorBoard") == 1
