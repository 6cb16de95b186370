import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gpu.kill import differences, run_folder, saved_step, wait_for_a_save


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that writes the files of a run that are compared."""
    monkeypatch.setattr("gpu.kill.scalars", lambda folder: [])

    def write(folder: Path, weight: float, loss: str = "0.5") -> Path:
        (folder / "checkpoints").mkdir(parents=True)
        for name in ("last.pt", "best.pt"):
            torch.save({"model": {"w": torch.tensor(weight)}, "step": 9}, folder / "checkpoints" / name)
        with (folder / "metrics.csv").open("w") as file:
            csv.writer(file).writerows([["loss", "seconds"], [loss, "1.5"]])
        return folder

    return write


def test_differences_are_named(run: Any, tmp_path: Path) -> None:
    one, same = run(tmp_path / "one", 1.0), run(tmp_path / "same", 1.0)
    other = run(tmp_path / "other", 1.0 + 2**-23, loss="0.4")
    assert differences(one, same) == []
    assert differences(one, other) == ["last.pt: model", "best.pt: model", "metrics.csv"]


def test_run_that_ends_before_it_is_killed_is_an_error(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('error: no such model'); exit(2)"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with pytest.raises(RuntimeError, match="before it was killed, with exit code 2: error: no such model"):
        wait_for_a_save(process, tmp_path, after=0)


def test_newest_save_is_found(tmp_path: Path) -> None:
    assert saved_step(tmp_path) == 0
    folder = tmp_path / "outputs" / "today" / "a run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").touch()
    for name in ("step-00000700.pt", "step-00000042.pt", "last.pt"):
        (folder / "checkpoints" / name).touch()
    assert saved_step(tmp_path) == 700
    assert run_folder(tmp_path) == folder
