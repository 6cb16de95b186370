import csv
from collections.abc import Callable, Mapping
from itertools import pairwise
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from helpers import results
from runner.config.schema import Config
from runner.sweep.execution import pool, server

DEATHS = {
    "raise": ("failed", "ValueError: on purpose"),
    "exit": ("failed", "SystemExit: 7"),
    "quit": ("failed", "Died: exited with code 0; see run.log"),
    "kill": ("failed", "Killed: killed by SIGKILL: kill -9, or out of memory"),
    "segfault": ("failed", "Died: killed by SIGSEGV: Segmentation fault; see run.log"),
    "memory": ("failed", "can't allocate memory"),
    "hang": ("failed", "Timeout: sweep.timeout: did not finish within 10 seconds"),
    "diverge": ("diverged", "the loss is nan"),
}


@pytest.mark.slow
def test_dead_jobs_do_not_affect_others(
    sweep: Callable[..., Path], deadly: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    deaths = f"none,{','.join(DEATHS)}"
    folder = sweep(*deadly, f"model.death={deaths}", "seed=0,1", "sweep.zip=false", "sweep.timeout=10", code=1)
    with (folder / "sweep.csv").open(newline="") as file:
        rows = {row["job"]: row for row in csv.DictReader(file)}
    text = capsys.readouterr().out
    for seed in (0, 1):
        assert rows[f"model.death=none,seed={seed}"]["status"] == "completed"
        for death, (status, error) in DEATHS.items():
            job = f"model.death={death},seed={seed}"
            assert rows[job]["status"] == results(folder / job)["status"] == status
            assert error in rows[job]["error"]
            (line,) = [line for line in text.splitlines() if line.startswith(status) and f"{job}:" in line]
            assert error in line
            log = (folder / job / "run.log").read_text()
            assert error.split(": ", 1)[-1] in log
    assert 'File "' in (folder / "model.death=segfault,seed=0" / "run.log").read_text()  # the stack of the crash
    assert "Traceback" in (folder / "model.death=raise,seed=0" / "run.log").read_text()
    assert float(rows["model.death=hang,seed=0"]["seconds"]) >= 10
    assert "2 completed, 2 diverged, 14 failed" in text


@pytest.mark.slow
def test_retries_run_a_failed_job_again(
    sweep: Callable[..., Path], deadly: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sweep(*deadly, "model.death=once,none", "sweep.retries=1", "sweep.jobs=1")
    assert results(folder / "model.death=once")["status"] == "completed"
    lines = [line for line in capsys.readouterr().out.splitlines() if "1/2 model.death=once" in line]
    assert [line.split()[0] for line in lines] == ["started", "failed", "again", "done"]
    with (folder / "sweep.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["completed", "completed"]


@pytest.mark.slow
def test_retries_are_limited(sweep: Callable[..., Path], deadly: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    sweep(*deadly, "model.death=raise", "sweep.retries=2", code=1)
    assert capsys.readouterr().out.count("ValueError: on purpose") == 3


def test_on_error_stop_ends_the_sweep(sweep: Callable[..., Path], deadly: list[str]) -> None:
    folder = sweep(*deadly, "model.death=raise,none", "seed=0,1,2", "sweep.jobs=1", "sweep.on_error=stop", code=1)
    with (folder / "sweep.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["failed", *["waiting"] * 5]


@pytest.mark.slow
def test_each_job_gets_one_gpu(sweep: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, str | None] = {}
    start_job = server.start_job

    def without_gpu(
        config: Config, folder: Path, overrides: list[str], swept: Mapping[str, Any], environment: Mapping[str, str]
    ) -> ForkServerProcess:
        given[folder.name] = environment.get("CUDA_VISIBLE_DEVICES")
        return start_job(config, folder, overrides, swept, {})

    monkeypatch.setattr(server, "start_job", without_gpu)
    monkeypatch.setattr(server, "check", lambda configs, tasks: ({}, ["3", "7"]))
    folder = sweep("seed=0,1,2", "sweep.jobs=2")
    assert (given["seed=0"], given["seed=1"], given["seed=2"] in ("3", "7")) == ("3", "7", True)
    assert results(folder / "seed=2")["status"] == "completed"
    given.clear()
    sweep("device=cpu", "seed=0,1")
    assert given == {"seed=0": None, "seed=1": None}


def test_table_is_updated_in_at_most_a_tenth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 100.0
    saves: list[float] = []

    def save() -> None:
        nonlocal clock
        saves.append(clock)
        clock += 0.5  # as for 1,000 jobs

    monkeypatch.setattr(pool, "time", SimpleNamespace(monotonic=lambda: clock))
    machine: Any = SimpleNamespace(slots=1)
    jobs = pool.Pool(None, machine, None, None, save)  # type: ignore[arg-type]
    while clock < 120:
        jobs.unsaved = True  # another job has ended
        jobs.update_table()
        clock += 0.1
    assert all(later - earlier >= 5 for earlier, later in pairwise(saves))
    assert len(saves) == 4
    assert jobs.unsaved  # the last ones are saved later
