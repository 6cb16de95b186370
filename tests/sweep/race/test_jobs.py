from pathlib import Path

import pytest

from conftest import TINY
from helpers import finish, start
from runner import cli
from runner.config.compose import compose_config
from runner.sweep.race.jobs import largest_round

RACE = "sweep.race.max_seeds=4"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["optim.lr=1,2", "seed=1,2,3"], "seed: found 1 and 2 and more; sweep.race runs each group with"),
        (["optim.lr=1,2", "dataset.folds=2", "dataset.fold=0,1"], "dataset.fold: found 0 and 1; sweep.race compares"),
        (
            ["optim.lr=1,2", "dataset.seed=0,1"],
            "dataset.seed: found 0 and 1; sweep.race compares the groups over seeds",
        ),
        (["optim.lr=1"], "sweep.race.max_seeds: found 4, but there is a single group; list values to compare"),
        (["optim.lr=0.1,1e-1"], "sweep.race: found a group more than once: optim.lr=0.1"),
        (["optim.lr=1,2", "sweep.race.max_seeds=3"], "sweep.race.max_seeds: found 3"),
        (
            ["optim.lr=1,2", "sweep.race.max_seeds=4,5"],
            "sweep.race.max_seeds: found 4 and 5; it holds for the whole sweep",
        ),
        (["optim.lr=1,2", "sweep.race.alpha=0"], "sweep.race.alpha: found 0"),
        (["optim.lr=1,2", "sweep.asha.min_epochs=1"], "sweep: a race compares whole runs, but ASHA shortens some"),
        (["trainer.checkpoint.metric=val/loss,val/accuracy"], "found val/loss (min) and val/accuracy (max)"),
        (["optim.lr=1,2", "hydra/launcher=basic"], "found 4 with hydra/launcher=basic; a race starts jobs by"),
        (["optim.lr=1,-1"], "optim.lr: found -1"),
        (["optim.lr=-1,1"], "optim.lr: found -1"),
        (["optim.lr=x,1"], "optim.lr: found 'x'"),
    ],
)
def test_jobs_that_cannot_race_are_refused(
    workdir: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    assert cli.main(["-m", *TINY, RACE, *arguments]) == 2
    assert problem in capsys.readouterr().err
    assert list(workdir.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["hydra/sweeper=optuna", "hydra/launcher=submitit_local", "hydra/launcher=ray"])
def test_race_is_refused_by_searches_and_on_other_machines(tmp_path: Path, choice: str) -> None:
    output = finish(start("-m", *TINY, RACE, choice, "optim.lr=choice(1,2)", cwd=tmp_path), code=2)
    assert f"sweep.race.max_seeds: found 4 with {choice}" in output
    assert list(tmp_path.iterdir()) == []


def test_race_without_multirun_flag_is_refused(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*TINY, RACE]) == 2
    assert "sweep.race.max_seeds: compares the jobs of a sweep, which needs -m" in capsys.readouterr().err
    assert list(workdir.iterdir()) == []


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[list[str]]:
    """Return the overrides of each job of a dry run that are not common to all."""
    assert cli.main(["-m", *TINY, RACE, *arguments, "dry_run=true"]) == 0
    jobs = [line.split()[1:] for line in capsys.readouterr().out.splitlines() if line[:4].strip().isdigit()]
    return [[text for text in job if not all(text in other for other in jobs)] for job in jobs]


def test_each_group_runs_with_each_seed(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = listed(capsys, "optim.lr=0.1,0.2", "seed=7")
    assert sorted(jobs[0]) == ["optim.lr=0.1", "seed=7"]
    assert [{*job} for job in jobs] == [
        {f"optim.lr={rate}", f"seed={seed}"} for seed in range(7, 11) for rate in (0.1, 0.2)
    ]


def test_groups_can_be_paired_or_listed_in_a_file(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paired = listed(capsys, "optim.lr=0.1,0.2", "trainer.batch_size=16,32", "sweep.zip=true")
    assert [{*job} for job in paired[:2]] == [
        {"optim.lr=0.1", "trainer.batch_size=16", "seed=0"},
        {"optim.lr=0.2", "trainer.batch_size=32", "seed=0"},
    ]
    assert len(paired) == 8
    Path("jobs.yaml").write_text("- {optim.lr: 0.1}\n- {optim.lr: 0.2}\n")
    assert len(listed(capsys, "sweep.file=jobs.yaml")) == 8


def test_seeds_in_a_job_file_are_refused(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("jobs.yaml").write_text("- {optim.lr: 0.1, seed: 3}\n- {optim.lr: 0.2}\n")
    assert cli.main(["-m", *TINY, RACE, "sweep.file=jobs.yaml"]) == 2
    assert "seed: found 3 and no value; sweep.race runs each group" in capsys.readouterr().err


def test_machine_is_shared_by_the_jobs_of_a_look() -> None:
    def settings(*overrides: str) -> int:
        return largest_round(60, compose_config(list(overrides)).sweep)

    assert settings() == 60
    assert settings("sweep.race.max_seeds=10") == 6 * 4
    assert settings("sweep.race.max_seeds=5") == 12 * 3
