"""Tests of jobs that another launcher runs in several tasks."""

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import TINY
from helpers import equal, finish, results, start, wait_until
from runner import cli
from runner.machine.files import write_atomically
from runner.machine.signals import Stop
from runner.sweep.execution import server, tasks
from runner.sweep.execution.processes import Ranks
from runner.sweep.execution.tasks import count_tasks, take_part, task_environment, threads_of_task

TWO_TASKS = ["hydra/launcher=submitit_local", "hydra.launcher.tasks_per_node=2"]
SLURM = {
    "SUBMITIT_EXECUTOR": "slurm",
    "SLURM_JOB_ID": "30001",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_JOB_NODELIST": "node[07-08]",
    "SLURM_NTASKS": "8",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
}


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment variables of a task on SLURM, for tests that read them with submitit."""
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)


def model_of(folder: Path) -> Any:
    """Return the weights in the last checkpoint."""
    return torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["model"]


@pytest.mark.slow
def test_tasks_of_a_job_train_one_run(workdir: Path, runner: Callable[..., Path]) -> None:
    same = ["trainer.batch_size=64", "trainer.shards=2", "device.threads=1"]
    finish(start("-m", *TINY, *same, *TWO_TASKS, "optim.lr=0.1,0.01", cwd=workdir))
    (folder,) = workdir.glob("outputs/*/*")
    alone = runner(*same, "optim.lr=0.1")
    assert equal(model_of(folder / "optim.lr=0.1"), model_of(alone))
    assert ", 2 processes" in (folder / "optim.lr=0.1" / "run.log").read_text()
    assert results(folder / "optim.lr=0.01")["status"] == "completed"
    assert list(folder.glob(".ranks*")) == []
    logs = {path.name.split("_")[1]: path.read_text() for path in folder.glob(".submitit/*/*_log.out")}
    assert ["done " in logs[rank] for rank in ("0", "1")] == [True, False]  # only rank 0 manages the job


@pytest.mark.slow
def test_killed_rank_of_a_task_fails_its_job_only(workdir: Path, deadly: list[str]) -> None:
    finish(start("-m", *deadly, *TWO_TASKS, "model.death=none,kill rank 1 once", cwd=workdir), code=1)
    (folder,) = workdir.glob("outputs/*/*")
    killed = results(folder / "model.death=kill rank 1 once".replace(" ", "_"))
    assert killed["status"] == "failed"
    assert "rank 1" in killed["error"]["message"]
    assert results(folder / "model.death=none")["status"] == "completed"


@pytest.mark.slow
def test_preempted_job_of_two_tasks_saves_and_is_requeued(workdir: Path) -> None:
    arguments = ["trainer.batch_size=16", "trainer.epochs=40", "device.threads=1", "seed=0"]
    driver = start("-m", *TINY, *TWO_TASKS, *arguments, cwd=workdir)
    wait_until(lambda: bool(list(workdir.glob("outputs/*/*/*/checkpoints/last.pt"))))
    for each in Path("/proc").glob("[0-9]*"):  # SLURM signals all tasks on timeout or preemption
        try:
            if b"submitit.core._submit" in (each / "cmdline").read_bytes() and (each / "cwd").readlink() == workdir:
                os.kill(int(each.name), signal.SIGUSR2)
        except OSError:
            continue
    finish(driver)
    (folder,) = [path.parent for path in workdir.glob("outputs/*/*/*/results.json")]
    assert (results(folder)["status"], results(folder)["resumed"]) == ("completed", 1)


@pytest.mark.slow  # needs the extra submitit
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["sweep.processes=2"], "sweep.processes: found 2, but each of the 2 tasks that hydra.launcher starts"),
        (["sweep.retries=1"], "sweep.retries: found 1, but a job of 2 tasks is not retried; allowed: 0"),
        (
            ["hydra.launcher.tasks_per_node=3", "trainer.shards=2"],
            "trainer.shards: found 2 with 3 processes; allowed: 1, 2 processes",
        ),
    ],
)
def test_problem_with_the_number_of_tasks_prevents_the_sweep(
    workdir: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    assert cli.main(["-m", *TINY, *TWO_TASKS, *arguments]) == 2
    assert problem in capsys.readouterr().err
    assert list(workdir.iterdir()) == []


def test_tasks_are_those_of_all_nodes() -> None:
    assert count_tasks({"nodes": 2, "tasks_per_node": 4}) == 8
    assert count_tasks({}) == 1


@pytest.mark.slow  # submitit is an extra
def test_rank_of_a_task_is_read_from_slurm(slurm: None, tmp_path: Path) -> None:
    assert task_environment(tmp_path) == {
        "RANK": "5",
        "WORLD_SIZE": "8",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "4",
        "MASTER_ADDR": "node07",
        "MASTER_PORT": "15001",
    }


@pytest.mark.slow  # submitit is an extra
def test_tasks_on_one_node_meet_in_a_file(slurm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "1")
    found = task_environment(tmp_path)
    assert (found["LOCAL_WORLD_SIZE"], found["MASTER_ADDR"]) == ("8", "127.0.0.1")
    assert found["RUNNER_STORE"] == str(tmp_path / ".ranks-30001")


@pytest.mark.slow  # submitit is an extra
def test_single_task_has_no_rank(slurm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert task_environment(tmp_path) == {}


@pytest.mark.slow  # submitit is an extra
def test_process_of_a_launcher_without_tasks_has_no_rank(
    slurm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUBMITIT_EXECUTOR")
    assert task_environment(tmp_path) == {}


def test_task_has_the_threads_that_slurm_reserves_or_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    assert [threads_of_task({"LOCAL_WORLD_SIZE": size}, 8) for size in ("4", "16")] == [2, 1]
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "6")
    assert threads_of_task({"LOCAL_WORLD_SIZE": "4"}, 8) == 6


def sleeping() -> Ranks:
    """Return a rank that sleeps."""
    return Ranks(lambda environment: server.start_process(partial(time.sleep, 60)), 1, {})


def test_rank_that_is_left_behind_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "GRACE", 0)
    monkeypatch.setattr(tasks, "TICK", 0.01)
    read = iter([{}, {"status": "running"}, *[{"status": "failed"}] * 1000])
    monkeypatch.setattr(tasks, "read_results", lambda folder: next(read))
    began = time.monotonic()
    take_part(sleeping(), tmp_path, Stop())
    assert time.monotonic() - began < 10


def test_rank_is_not_killed_because_of_results_from_an_earlier_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "GRACE", 0)
    monkeypatch.setattr(tasks, "TICK", 0.01)
    write_atomically(tmp_path / "results.json", '{"status": "failed"}')
    ranks = Ranks(lambda environment: server.start_process(partial(time.sleep, 0.3)), 1, {})
    take_part(ranks, tmp_path, Stop())
    assert ranks.killed == set()


def test_second_signal_kills_the_rank(tmp_path: Path) -> None:
    stop = Stop()
    stop.requests = 2
    began = time.monotonic()
    take_part(sleeping(), tmp_path, stop)
    assert time.monotonic() - began < 10
