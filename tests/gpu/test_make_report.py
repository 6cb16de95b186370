import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from gpu import make_report
from gpu.__main__ import main as enter
from gpu.machine import ROOT, machine
from gpu.section import Row, Section

PATHS = [str(ROOT / folder) for folder in ("src", "tests", "tests/benchmarks")]


@pytest.fixture
def sections(monkeypatch: pytest.MonkeyPatch) -> list[Section]:
    """Replace the sections with one that works, one that fails after a row, and another one; collect what they get."""
    seen: list[Section] = []

    def good(section: Section) -> Iterator[Row]:
        seen.append(section)
        yield {"what": "a row", "result": "ok"}

    def bad(section: Section) -> Iterator[Row]:
        yield from good(section)
        raise RuntimeError("broken\nin two lines")

    for name, rows in {"one": good, "two": bad, "three": good}.items():
        module: Any = ModuleType(f"gpu.{name}")
        module.TITLE, module.rows = f"title of {name}", rows
        monkeypatch.setitem(sys.modules, f"gpu.{name}", module)
    monkeypatch.setattr(make_report, "SECTIONS", {"one": 10, "two": 20, "missing": 5, "three": 30})
    monkeypatch.setattr(make_report, "PRELOADED", ("gpu.missing",))
    return seen


def test_machine_without_gpu_gets_one_message(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU, as others need a GPU")
    assert make_report.main(["--output", str(tmp_path / "gpu")]) == 2
    assert capfd.readouterr() == (
        "",
        f"make gpu: found no NVIDIA GPU (torch {torch.__version__}, torch.cuda.is_available() is False); "
        "run it on a machine with one\n",
    )
    assert list(tmp_path.iterdir()) == []


def test_python_without_torch_gets_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert enter() == 2
    assert f"make gpu: {sys.executable} has no torch" in capsys.readouterr().err


def test_section_that_fails_leaves_the_others(
    sections: list[Section], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make_report.main(["--rehearse", "--output", str(tmp_path)]) == 1
    verdicts = json.loads((tmp_path / "report.json").read_text())["verdicts"]
    assert verdicts == {
        "one": "passed (1 ok)",
        "two": "FAILED, ended by RuntimeError: broken (1 ok before)",
        "missing": "FAILED, ended by ModuleNotFoundError: No module named 'gpu.missing'",
        "three": "passed (1 ok)",
    }
    assert "report.md" in capsys.readouterr().out


def test_time_that_a_section_leaves_goes_to_the_next_one(sections: list[Section], tmp_path: Path) -> None:
    begun = time.monotonic()
    assert make_report.main(["--rehearse", "--output", str(tmp_path), "one", "three"]) == 0
    assert [round(section.ends - begun, -1) for section in sections] == [10, 40]
    assert [(section.device, section.method) for section in sections] == [("cpu", "fork")] * 2


def test_processes_are_spawned_if_cuda_does_not_survive_a_fork(
    sections: list[Section], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def poisoned(device: str) -> None:
        raise RuntimeError("Cannot re-initialize CUDA in forked subprocess")

    monkeypatch.setattr(make_report, "touch", poisoned)
    make_report.main(["--rehearse", "--output", str(tmp_path), "one"])
    assert sections[0].method == "spawn"


def test_unknown_section_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        make_report.main(["sink"])
    assert "unknown section 'sink'; allowed: tests, sync, kill, speed, branches" in capsys.readouterr().err


def test_all_sections_end_within_nine_minutes() -> None:
    assert sum(make_report.SECTIONS.values()) <= 9 * 60 - 20


def test_machine_names_hardware_versions_and_commit() -> None:
    found = machine()
    assert found["torch"] == torch.__version__
    assert all(found.values())
    assert {"GPU", "driver", "CUDA", "Python", "date", "commit"} <= found.keys()


@pytest.mark.slow
def test_rehearsal_of_everything_passes(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(PATHS), "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "gpu",
        "--rehearse",
        "--output",
        str(tmp_path),
        "sync",
        "kill",
        "speed",
        "branches",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "**All passed.**" in (tmp_path / "report.md").read_text()
