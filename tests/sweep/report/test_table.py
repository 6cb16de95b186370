import csv
import json
from pathlib import Path
from typing import Any

import pytest

from runner.config.compose import compose_config
from runner.machine.files import write_atomically
from runner.sweep.jobs import Job, Sweep
from runner.sweep.report.table import Table

CONFIG = compose_config()


def make(folder: Path, *jobs: dict[str, Any]) -> Table:
    """Return the table of a sweep; `status` and `best` of a job are its results, its other keys are swept."""
    found = []
    for number, job in enumerate(jobs):
        status, best = job.pop("status", "completed"), job.pop("best", None)
        found.append(Job(f"job{number}", [f"{key}={value}" for key, value in job.items()], [], job, CONFIG))
        if status != "waiting":
            (folder / f"job{number}").mkdir()
            values = {
                "status": status,
                "epoch": 3,
                "best": None if best is None else {"metric": "val/loss", "value": best},
                "test": {} if best is None else {"loss": best, "accuracy": 1 - best},
                "seconds": {"total": 1.5},
                "error": {"type": "ValueError", "message": "on purpose"} if status == "failed" else None,
            }
            (folder / f"job{number}" / "results.json").write_text(json.dumps(values))
    sweep = Sweep(folder, found)
    sweep.save()
    return Table(sweep)


def test_table_has_one_row_per_job(tmp_path: Path) -> None:
    table = make(
        tmp_path,
        {"optim.lr": 0.1, "best": 0.25},
        {"optim.lr": 0.2, "status": "failed"},
        {"optim.lr": 0.3, "status": "waiting"},
    )
    table.save()
    with (tmp_path / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("job", "status", "optim.lr", "epoch", "best val/loss", "test/loss", "test/accuracy"),
        *("seconds", "error", "overrides"),
    ]
    assert [row["status"] for row in rows] == ["completed", "failed", "waiting"]
    assert [row["best val/loss"] for row in rows] == ["0.25", "", ""]
    assert rows[1]["error"] == "ValueError: on purpose"
    whole = json.loads((tmp_path / "sweep.json").read_text())
    assert [job["swept"] for job in whole["jobs"]] == [{"optim.lr": 0.1}, {"optim.lr": 0.2}, {"optim.lr": 0.3}]
    assert whole["best"]["job"] == "job0"
    text = (tmp_path / "sweep.md").read_text()
    assert "1 completed, 1 failed, 1 waiting" in text
    assert "| job0 | completed | 0.1 | 3 | 0.25 |" in text
    assert "python -m runner optim.lr=0.1" in text


def test_jobs_that_differ_in_seed_or_fold_are_repeats(tmp_path: Path) -> None:
    table = make(
        tmp_path,
        {"optim.lr": 0.1, "seed": 0, "dataset.fold": 0, "best": 0.1},
        {"optim.lr": 0.1, "seed": 1, "dataset.fold": 1, "best": 0.3},
        {"optim.lr": 0.2, "seed": 0, "dataset.fold": 0, "best": 0.5},
        {"optim.lr": 0.2, "seed": 1, "dataset.fold": 0, "status": "failed"},
    )
    first, second = table.groups()
    assert (first.keys, first.n, first.names) == ({"optim.lr": 0.1}, 2, ["job0", "job1"])
    assert first.mean["best val/loss"] == pytest.approx(0.2)
    assert first.std["best val/loss"] == pytest.approx(0.02**0.5)  # sample standard deviation, with n - 1
    assert second.n == 1
    assert second.std["best val/loss"] is None
    table.save()
    assert "| 0.1 | 2 | 0.2 ± 0.1414 |" in (tmp_path / "sweep.md").read_text()


def test_verdict_is_written_when_the_sweep_has_ended(tmp_path: Path) -> None:
    noise = [0.0, 0.01, 0.02, 0.015]
    jobs = [{"optim.lr": lr, "seed": seed, "best": lr + lr * noise[seed]} for lr in (0.1, 0.5) for seed in range(4)]
    table = make(tmp_path, *jobs)
    table.save()
    assert json.loads((tmp_path / "sweep.json").read_text())["verdict"] is None
    assert "verdict" not in (tmp_path / "sweep.csv").read_text()
    table.save(ended=True)
    found = json.loads((tmp_path / "sweep.json").read_text())["verdict"]
    assert [(group["values"], group["verdict"]) for group in found["groups"]] == [
        ({"optim.lr": 0.1}, "best"),
        ({"optim.lr": 0.5}, "worse"),
    ]
    assert found["sentence"].startswith("best optim.lr=0.1: val/loss 0.1")
    with (tmp_path / "sweep.csv").open(newline="") as file:
        assert [row["verdict"] for row in csv.DictReader(file)] == ["best"] * 4 + ["worse"] * 4
    assert "- optim.lr=0.5 is worse by 0.4" in (tmp_path / "sweep.md").read_text()


def test_best_job_comes_from_the_group_with_the_best_mean(tmp_path: Path) -> None:
    table = make(
        tmp_path,
        {"optim.lr": 0.1, "seed": 0, "best": 0.1},  # a lucky seed
        {"optim.lr": 0.1, "seed": 1, "best": 0.9},
        {"optim.lr": 0.2, "seed": 0, "best": 0.4},
        {"optim.lr": 0.2, "seed": 1, "best": 0.3},
        {"optim.lr": 0.3, "seed": 0, "best": 0.0, "status": "diverged"},
    )
    best = table.best()
    assert best is not None
    assert best.folder == "job3"


def test_best_job_has_the_largest_metric_with_mode_max(tmp_path: Path) -> None:
    config = compose_config(["trainer.checkpoint.metric=val/loss", "trainer.checkpoint.mode=max"])
    table = make(tmp_path, {"a": 1, "best": 0.1}, {"a": 2, "best": 0.3}, {"a": 3})
    table.sweep.jobs = [Job(job.folder, job.overrides, [], job.swept, config) for job in table.sweep.jobs]
    best = table.best()
    assert best is not None
    assert best.folder == "job1"


def test_no_job_is_best_if_none_has_completed(tmp_path: Path) -> None:
    table = make(tmp_path, {"a": 1, "status": "failed"}, {"a": 2, "status": "waiting"})
    assert table.best() is None
    table.save()
    assert json.loads((tmp_path / "sweep.json").read_text())["best"] is None


def test_changed_results_file_is_read_again(tmp_path: Path) -> None:
    table = make(tmp_path, {"a": 1, "status": "failed"})
    job = table.sweep.jobs[0]
    assert table.status(job) == "failed"
    write_atomically(tmp_path / "job0" / "results.json", '{"status": "running"}')
    assert table.status(job) == "running"
    (tmp_path / "job0" / "results.json").unlink()
    assert table.status(job) == "waiting"


def test_unchanged_results_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = make(tmp_path, {"a": 1, "status": "failed"})
    assert table.status(table.sweep.jobs[0]) == "failed"
    monkeypatch.setattr("runner.sweep.report.table.read_results", None)
    assert table.status(table.sweep.jobs[0]) == "failed"


def test_command_of_a_job_resumed_alone_has_its_latest_overrides(tmp_path: Path) -> None:
    table = make(tmp_path, {"optim.lr": 1, "best": 0.1})
    assert "trainer.epochs=9" not in table.command(table.sweep.jobs[0])
    results = json.loads((tmp_path / "job0" / "results.json").read_text())
    results["overrides"] = ["optim.lr=1", "trainer.epochs=4", "trainer.epochs=9"]
    write_atomically(tmp_path / "job0" / "results.json", json.dumps(results))
    assert table.command(table.sweep.jobs[0]) == "python -m runner optim.lr=1 trainer.epochs=9"


def test_no_means_are_shown_if_no_repeat_has_completed(tmp_path: Path) -> None:
    assert not make(tmp_path, *({"seed": seed, "status": "waiting"} for seed in (1, 2))).has_repeats


def test_group_with_failed_repeats_ranks_below_complete_groups(tmp_path: Path) -> None:
    table = make(
        tmp_path,
        {"optim.lr": 0.1, "seed": 0, "best": 0.1},
        {"optim.lr": 0.1, "seed": 1, "status": "diverged"},
        {"optim.lr": 0.2, "seed": 0, "best": 0.4},
        {"optim.lr": 0.2, "seed": 1, "best": 0.3},
    )
    best = table.best()
    assert best is not None
    assert best.folder == "job3"


def test_job_without_a_metric_value_is_never_best(tmp_path: Path) -> None:
    table = make(tmp_path, {"a": 1, "best": 0.1}, {"a": 2, "best": 0.5})
    (tmp_path / "job0" / "results.json").write_text(
        '{"status": "completed", "best": {"metric": "val/loss", "value": null}, "test": {"loss": null}}'
    )
    table.save()
    best = table.best()
    assert best is not None
    assert best.folder == "job1"


def test_remaining_jobs_depend_on_their_status(tmp_path: Path) -> None:
    statuses = ("completed", "stopped early", "failed", "diverged", "dropped", "interrupted", "running", "waiting")
    table = make(tmp_path, *({"a": n, "status": status} for n, status in enumerate(statuses)))
    assert [table.is_left(job) for job in table.sweep.jobs] == [False] * 5 + [True] * 3
    assert [table.is_left(job, retry_failed=True) for job in table.sweep.jobs] == [
        False,
        False,
        True,
        True,
        False,
        *[True] * 3,
    ]
    killed = '{"status": "failed", "error": {"type": "Killed", "message": ""}}'
    write_atomically(tmp_path / "job2" / "results.json", killed)
    assert table.is_left(table.sweep.jobs[2])
