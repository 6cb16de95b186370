"""Tests of `--json`, from single lines to the events of whole runs and sweeps."""

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import TINY
from helpers import results
from runner import cli
from runner.config.arguments import take_json
from runner.tracking.console import console
from runner.tracking.events import Events, event, events
from runner.tracking.metrics_csv import read_rows


def read(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the events on standard output, which holds nothing else."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [each["event"] for each in found]


def test_event_is_a_line_with_the_time_and_null_for_numbers_that_are_not_finite() -> None:
    writer = Events()
    writer.stream = io.StringIO()
    writer.write(event("epoch", loss=math.nan, parts=[1, math.inf], folder=Path("a")))
    (line,) = writer.stream.getvalue().splitlines()
    found = json.loads(line)
    assert list(found)[:2] == ["event", "time"]
    assert (found["loss"], found["parts"], found["folder"]) == (None, [1, None], "a")


def test_without_json_nothing_is_written_but_text(capsys: pytest.CaptureFixture[str]) -> None:
    console.print("as text", event=event("saving"))
    events.write(event("saving"))
    assert capsys.readouterr().out == "as text\n"


def test_with_json_text_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    with events.on_stdout():
        console.print("as text", event=event("saving"))
        console.print("only text")
        print("printed by a plugin")
        console.warn("watch out")
    first, second = read(capsys)
    assert (first["event"], second["event"], second["message"]) == ("saving", "warning", "watch out")


def test_reader_that_has_ended_does_not_end_training(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    writer = Events()
    writer.stream = Broken()
    for _ in range(2):
        writer.write(event("saving"))
    assert capsys.readouterr().err.count("the events cannot be written: Broken pipe") == 1


@pytest.mark.parametrize("place", [0, 3, len(TINY)])
def test_run_reports_its_epochs_and_results(workdir: Path, capsys: pytest.CaptureFixture[str], place: int) -> None:
    assert cli.main([*TINY[:place], "--json", *TINY[place:], "device.threads=1"]) == 0
    found = read(capsys)
    assert kinds(found) == ["started", "epoch", "saving", "epoch", "saving", "test", "ended"]
    folder = Path(found[0]["folder"])
    assert (folder.parents[2], found[0]["samples"]["test"], found[0]["steps"]) == (workdir, 359, 12)
    rows = [{key: float(text) for key, text in row.items()} for row in read_rows(folder)]
    assert [{key: each[key] for key in rows[0]} for each in found if each["event"] == "epoch"] == rows
    assert found[-1]["results"] == results(folder)
    assert (found[-1]["status"], found[-1]["exit_code"]) == ("completed", 0)
    assert "epoch   1  loss" in (folder / "run.log").read_text()


def test_diverged_run_reports_the_error_and_its_exit_code(
    runner: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    runner("--json", "optim.lr=1e30", code=3)
    *_, error, ended = read(capsys)
    assert (error["event"], error["type"], error["exit_code"]) == ("error", "Diverged", 3)
    assert (ended["event"], ended["status"], ended["exit_code"]) == ("ended", "diverged", 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optim.lrr=1"], "optim.lrr: no such key"),
        (["--nope"], "--nope: no such flag"),
        (["resume", "nowhere"], "nowhere: not a run folder"),
        (["predict", "RUN", "a.png"], "--json: predict has no events; allowed: training, resume, diff, verify"),
        (["diff", "RUN"], "bad usage"),
    ],
)
def test_mistake_is_an_event_and_a_text_on_standard_error(
    workdir: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    try:
        code: object = cli.main([*arguments, "--json"])
    except SystemExit as exited:  # raised by argparse
        code = exited.code
    out, err = capsys.readouterr()
    (found,) = map(json.loads, out.splitlines())
    assert (found["event"], found["exit_code"], code) == ("error", 2, 2)
    assert message in found["message"]
    assert "error: " in err


def test_fault_of_the_program_is_an_event(
    workdir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "train", lambda arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["--json"])
    (found,) = read(capsys)
    assert (found["type"], found["exit_code"]) == ("ZeroDivisionError", 1)


def test_completed_run_and_difference_of_runs_are_events(
    runner: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = runner("trainer.epochs=1"), runner("trainer.epochs=1", "seed=1")
    capsys.readouterr()
    assert cli.main(["--json", "resume", str(first)]) == 0
    (ended,) = read(capsys)
    assert (ended["event"], ended["status"], ended["results"]) == ("ended", "completed", results(first))
    assert cli.main(["diff", str(first), "--json", str(second)]) == 1
    (found,) = read(capsys)
    assert (found["event"], found["equal"], found["config"]) == ("diff", False, {"seed": [0, 1]})
    assert cli.main(["diff", str(first), str(first), "--json"]) == 0
    assert read(capsys)[0]["equal"]


def test_verified_run_is_an_event(runner: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = runner("trainer.epochs=1")
    capsys.readouterr()
    assert cli.main(["verify", str(folder), "--json"]) == 0
    (found,) = read(capsys)
    assert (found["event"], found["equal"]) == ("verify", True)


def test_sweep_reports_its_jobs(sweep: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["sweep.retries=1", "sweep.jobs=1", "trainer.max_steps=6"]
    folder = sweep("--json", "optim.lr=0.1,1e30", *arguments, code=1)
    found = read(capsys)
    jobs = ["job started", "job ended"]
    assert kinds(found) == ["sweep started", *jobs, *jobs, "verdict", "sweep ended"]  # a diverged job is not retried
    assert [(each["number"], each["of"], each["status"]) for each in found if each["event"] == "job ended"] == [
        (1, 2, "completed"),
        (2, 2, "diverged"),
    ]
    assert found[2]["results"] == results(folder / "optim.lr=0.1")
    assert (found[-1]["folder"], found[-1]["exit_code"]) == (str(folder), 1)
    assert found[-1]["counts"] == {"completed": 1, "diverged": 1}
    assert found[-1]["best"]["job"] == "optim.lr=0.1"


@pytest.mark.slow
def test_failed_job_is_retried(
    sweep: Callable[..., Path], deadly: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(*deadly, "--json", "model.death=once", "sweep.retries=1")
    jobs = [(each["event"], each.get("try"), each.get("status")) for each in read(capsys) if "job" in each]
    assert jobs == [
        ("job started", 1, None),
        ("job ended", None, "failed"),
        ("job retried", 2, None),
        ("job ended", None, "completed"),
    ]


def test_dry_run_reports_the_config_or_the_jobs(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*TINY, "dry_run=true", "--json"]) == 0
    (found,) = read(capsys)
    assert (found["event"], found["config"]["model"]["name"]) == ("dry run", "mlp")
    assert cli.main([*TINY, "-m", "seed=1,2", "dry_run=true", "--json"]) == 0
    (found,) = read(capsys)
    assert [each["job"] for each in found["jobs"]] == ["seed=1", "seed=2"]


def test_other_ranks_write_no_events(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    with cli.output(as_json=True):
        console.print("text", event=event("saving"))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a=1", "--json", "-m"], (["a=1", "-m"], True)),
        (["a=1", "-m"], (["a=1", "-m"], False)),
        (["--json", "--cfg=job"], (["--cfg=job"], False)),
        (["--help", "--json"], (["--help"], False)),
    ],
)
def test_flags_that_print_something_print_text(arguments: list[str], expected: tuple[list[str], bool]) -> None:
    assert take_json(arguments) == expected
