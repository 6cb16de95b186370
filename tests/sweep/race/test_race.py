import csv
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from helpers import results
from runner import cli
from runner.config.compose import compose_config
from runner.sweep.jobs import Job, Sweep
from runner.sweep.race.race import Race, groups_of
from runner.sweep.report.table import Table

CONFIG = compose_config(["sweep.race.max_seeds=8"])
SEEDS = 8
# Losses by learning rate, of the seeds 0 to 7: the first group is dropped after 4 seeds, the third one after 6.
LOSSES = {
    0.3: [3.0, 3.2, 3.1, 2.9] * 2,
    0.03: [1.0, 1.2, 1.1, 0.9, 1.0, 1.1, 1.2, 1.0],
    0.01: [1.3, 1.3, 1.8, 1.3, 1.5, 1.6, 1.5, 1.5],
    0.02: [0.9, 1.1, 1.2, 1.0, 1.1, 1.0, 1.1, 1.1],
}


def make(folder: Path, rates: Sequence[float] = tuple(LOSSES)) -> Table:
    """Return the table of a race that has not started."""
    folder.mkdir(exist_ok=True)
    jobs = [
        Job(f"optim.lr={rate},seed={seed}", [f"optim.lr={rate}", f"seed={seed}"], [], values, CONFIG)
        for seed in range(SEEDS)
        for rate in rates
        for values in [{"optim.lr": rate, "seed": seed}]
    ]
    sweep = Sweep(folder, jobs)
    sweep.save()
    return Table(sweep)


def end(table: Table, job: Job, status: str = "completed") -> None:
    """Write the results of a job."""
    folder = table.sweep.path(job)
    folder.mkdir(exist_ok=True)
    loss = LOSSES[job.swept["optim.lr"]][job.swept["seed"]]
    values = {
        "status": status,
        "best": {"metric": "val/loss", "value": loss} if status == "completed" else None,
        "seconds": {"total": 1.0},
        "error": {"type": "ValueError", "message": "on purpose"} if status == "failed" else None,
    }
    (folder / "results.json").write_text(json.dumps(values))


def race_of(table: Table) -> Race:
    assert table.race is not None
    return table.race


def finish(table: Table, rounds: Iterator[list[Job]]) -> list[list[str]]:
    """Complete the jobs of each round; return their names."""
    names = []
    for jobs in rounds:
        names.append([job.folder for job in jobs])
        for job in jobs:
            end(table, job)
    return names


def statuses(table: Table) -> dict[str, str]:
    return {job.folder: Table(table.sweep).status(job) for job in table.sweep.jobs}


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("race ")]


def test_jobs_run_seed_by_seed_until_each_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = make(tmp_path)
    names = finish(table, race_of(table).rounds(table.sweep.jobs))
    assert names == [
        [f"optim.lr={rate},seed={seed}" for seed in range(4) for rate in (0.3, 0.03, 0.01, 0.02)],
        [f"optim.lr={rate},seed={seed}" for seed in (4, 5) for rate in (0.03, 0.01, 0.02)],
        [f"optim.lr={rate},seed={seed}" for seed in (6, 7) for rate in (0.03, 0.02)],
    ]
    assert [line.partition(":")[0] for line in lines(capsys)] == [
        "race     optim.lr=0.3 dropped after 4 seeds",
        "race     optim.lr=0.01 dropped after 6 seeds",
    ]


def test_jobs_of_dropped_groups_are_recorded_as_dropped(tmp_path: Path) -> None:
    table = make(tmp_path)
    finish(table, race_of(table).rounds(table.sweep.jobs))
    found = statuses(table)
    assert [job for job, status in found.items() if status == "dropped"] == [
        *("optim.lr=0.3,seed=4", "optim.lr=0.3,seed=5", "optim.lr=0.3,seed=6", "optim.lr=0.01,seed=6"),
        *("optim.lr=0.3,seed=7", "optim.lr=0.01,seed=7"),
    ]
    assert list(found.values()).count("completed") == 26
    assert not any(Table(table.sweep).is_left(job, retry_failed=True) for job in table.sweep.jobs)
    assert (tmp_path / "optim.lr=0.3,seed=4" / "config.yaml").exists()


def test_race_of_two_groups_ends_when_one_is_left(tmp_path: Path) -> None:
    table = make(tmp_path, [0.3, 0.03])
    names = finish(table, race_of(table).rounds(table.sweep.jobs))
    assert len(names) == 1
    assert list(statuses(table).values()) == ["completed"] * 8 + ["dropped"] * 8


@pytest.mark.slow
def test_interrupted_race_continues_with_the_same_decisions(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole")
    finish(whole, race_of(whole).rounds(whole.sweep.jobs))
    draw = random.Random(3)
    for number in range(4):
        table = make(tmp_path / str(number))
        while left := [job for job in table.sweep.jobs if table.is_left(job)]:
            budget = draw.randrange(1, 9)
            for jobs in race_of(table).rounds(left):
                for job in draw.sample(jobs, len(jobs))[:budget]:
                    end(table, job)
                    budget -= 1
                if budget == 0:
                    break
            table = Table(Sweep.open(table.sweep.folder))
        assert statuses(table) == statuses(whole)


def test_job_that_cannot_start_leaves_the_race_unfinished(tmp_path: Path) -> None:
    table = make(tmp_path)
    for jobs in race_of(table).rounds(table.sweep.jobs):
        for job in jobs[1:]:
            end(table, job)
    assert table.is_left(table.sweep.jobs[0])
    assert "dropped" not in statuses(table).values()


def test_repeated_failed_runs_can_call_dropped_jobs_back(tmp_path: Path) -> None:
    table = make(tmp_path, [0.03, 0.02])
    for jobs in race_of(table).rounds(table.sweep.jobs):
        for job in jobs:
            end(table, job, "failed" if job.swept["optim.lr"] == 0.02 and job.swept["seed"] < 3 else "completed")
    dropped = [f"optim.lr={rate},seed={seed}" for seed in (4, 5, 6, 7) for rate in (0.03, 0.02)]
    assert [job for job, status in statuses(table).items() if status == "dropped"] == dropped

    table = Table(Sweep.open(tmp_path))
    assert race_of(table).needed() == []
    left = [job for job in table.sweep.jobs if table.is_left(job, retry_failed=True)]
    assert [job.swept["seed"] for job in left] == [0, 1, 2]
    again = race_of(table).rounds(left)
    assert next(again) == left
    for job in left:
        end(table, job)
    assert [job.folder for job in race_of(Table(table.sweep)).needed()] == dropped[:4]  # even if the driver dies here
    assert [name for names in finish(table, again) for name in names] == dropped


def test_diverged_runs_end_a_group_at_the_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = make(tmp_path, [0.03, 0.02, 0.3])
    for jobs in race_of(table).rounds(table.sweep.jobs):
        for job in jobs:
            end(table, job, "diverged" if job.swept["optim.lr"] == 0.3 and job.swept["seed"] == 1 else "completed")
    assert lines(capsys) == ["race     optim.lr=0.3 diverged in 1 of 4 runs: dropped, not compared"]
    found = statuses(table)
    assert found["optim.lr=0.3,seed=3"] == "completed"
    assert found["optim.lr=0.3,seed=4"] == "dropped"
    assert sentence(table).endswith("does not cover groups that left because runs diverged or failed.")


def test_run_without_a_score_counts_as_diverged(tmp_path: Path) -> None:
    table = make(tmp_path, [0.03, 0.02])
    for jobs in race_of(table).rounds(table.sweep.jobs):
        for job in jobs:
            end(table, job)
        name = "optim.lr=0.02,seed=0"
        (tmp_path / name / "results.json").write_text('{"status": "completed", "best": null}')
    assert [left.why for left in race_of(table).standing().exits] == ["diverged"]


def test_larger_scores_win_with_mode_max(tmp_path: Path) -> None:
    table = make(tmp_path, [0.3, 0.02])
    config = compose_config(["sweep.race.max_seeds=8", "trainer.checkpoint.mode=max"])
    table.sweep.jobs = [replace(job, config=config) for job in table.sweep.jobs]
    finish(table, race_of(table).rounds(table.sweep.jobs))
    assert sentence(table).startswith("optim.lr=0.3 leads")


def sentence(table: Table) -> str:
    return race_of(table).sentence()


def test_sentence_counts_the_groups_and_runs(tmp_path: Path) -> None:
    table = make(tmp_path)
    assert sentence(table) == "no look at the groups yet; 0 of 32 runs"
    rounds = race_of(table).rounds(table.sweep.jobs)
    for job in next(rounds):
        end(table, job)
    assert sentence(table) == "optim.lr=0.03 leads; 2 not separated after 4 seeds; 16 of 32 runs; the race is not over"
    finish(table, rounds)
    assert sentence(table) == (
        "optim.lr=0.03 leads; 1 not separated after 8 seeds; 26 of 32 runs. The race drops the true best with "
        "probability at most 5% (up to 6% in simulations with unequal noise)."
    )


def test_sentence_without_a_winner(tmp_path: Path) -> None:
    table = make(tmp_path)
    for jobs in race_of(table).rounds(table.sweep.jobs):
        for job in jobs:
            end(table, job, "diverged")
    assert sentence(table) == "no group is left: runs of all of them diverged or failed; 16 of 32 runs"


def test_groups_are_named_without_the_seed(tmp_path: Path) -> None:
    group = groups_of(make(tmp_path).sweep.jobs)[0]
    assert (group.title, group.values) == ("optim.lr=0.3", {"optim.lr": 0.3})


def test_race_trains_until_one_group_is_left(sweep: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = sweep("optim.lr=1e-9,0.1", "seed=3", "trainer.epochs=1", "sweep.race.max_seeds=5")
    with (folder / "sweep.csv").open(newline="") as file:
        found = {row["job"]: row["status"] for row in csv.DictReader(file)}
    expected = {f"optim.lr={rate},seed={seed}": "completed" for seed in range(3, 7) for rate in ("1e-09", "0.1")}
    assert found == expected | {"optim.lr=1e-09,seed=7": "dropped", "optim.lr=0.1,seed=7": "dropped"}
    text = capsys.readouterr().out
    assert "race     optim.lr=1e-09 dropped after 4 seeds: behind by " in text
    assert results(folder / "optim.lr=0.1,seed=7")["status"] == "dropped"
    assert cli.main(["resume", str(folder), "--retry-failed"]) == 0
    assert "nothing is left to do" in capsys.readouterr().out
