"""Tests of jobs that several processes train."""

import functools
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import TINY
from helpers import equal, finish, metrics_table, results, start, wait_until
from runner import cli
from runner.errors import ConfigError
from runner.machine.ranks import world_size
from runner.sweep.execution import machine, processes, server
from runner.sweep.execution.machine import Machine
from runner.sweep.execution.processes import Ranks, on_loopback
from runner.sweep.execution.worker import set_environment, world_of
from runner.sweep.jobs import Job

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def model_of(folder: Path) -> Any:
    """Return the weights in the last checkpoint."""
    return torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["model"]


def processes_of(job: Path) -> list[int]:
    """Return the ids of the processes whose errors go to the run.log of a job."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            if (each / "fd" / "2").readlink() == job / "run.log":
                found.append(int(each.name))
        except OSError:
            continue
    return found


def listening(pid: int) -> set[str]:
    """Return the addresses at which a process accepts TCP connections."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets.add(str(descriptor.readlink()))
        except OSError:
            continue
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in sockets:
                addresses.add(local.partition(":")[0])
    return addresses


@pytest.fixture
def busy(workdir: Path) -> list[str]:
    """Return the arguments of a sweep whose jobs of two processes train for a while."""
    return ["-m", *TINY, "trainer.batch_size=16", "trainer.epochs=3000", "sweep.processes=2", "device.threads=1"]


@pytest.mark.slow
def test_job_of_two_processes_has_the_bits_of_two_shards_in_one_process(
    sweep: Callable[..., Path], runner: Callable[..., Path]
) -> None:
    same = ["trainer.batch_size=64", "trainer.shards=2", "optim=adam", "device.threads=1"]
    folder = sweep(*same, "optim.lr=0.1,0.01", "sweep.processes=2")
    for lr in ("0.1", "0.01"):
        alone = runner(*same, f"optim.lr={lr}")
        assert equal(model_of(folder / f"optim.lr={lr}"), model_of(alone))
        assert metrics_table(folder / f"optim.lr={lr}") == metrics_table(alone)
    assert ", 2 processes" in (folder / "optim.lr=0.1" / "run.log").read_text()


@pytest.mark.slow
def test_killed_rank_fails_its_job_only_and_a_retry_completes_it(
    sweep: Callable[..., Path], deadly: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    deaths = "model.death=none,kill rank 1 once"
    folder = sweep(*deadly, deaths, "sweep.processes=2", "sweep.retries=1", "sweep.jobs=2")
    lines = capsys.readouterr().out.splitlines()
    words = {
        title: [line.split()[0] for line in lines if f"/2 model.death={title}" in line] for title in ("none", "kill")
    }
    assert words == {"none": ["started", "done"], "kill": ["started", "failed", "again", "done"]}
    assert any("Killed: rank 1: killed by SIGKILL: kill -9, or out of memory" in line for line in lines)
    assert {results(path)["status"] for path in folder.iterdir() if path.is_dir()} == {"completed"}


@pytest.mark.slow
def test_job_whose_rank_was_killed_is_left_to_resume(sweep: Callable[..., Path], deadly: list[str]) -> None:
    folder = sweep(*deadly, "model.death=kill rank 1 once", "sweep.processes=2", code=1)
    assert cli.main(["resume", str(folder)]) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("death", "timeout", "error"),
    [
        ("kill rank 0", 100, "killed by SIGKILL: kill -9, or out of memory; see run.log"),
        ("raise in rank 1", 100, "failed: ValueError: on purpose"),
        ("hang in rank 1", 3, "sweep.timeout: did not finish within 3 seconds"),
    ],
)
def test_ranks_of_a_failed_job_end(
    sweep: Callable[..., Path], deadly: list[str], death: str, timeout: int, error: str
) -> None:
    folder = sweep(*deadly, f"model.death={death}", "sweep.processes=2", f"sweep.timeout={timeout}", code=1)
    (job,) = [path for path in folder.iterdir() if path.is_dir()]
    assert results(job)["status"] == "failed"
    assert error in results(job)["error"]["message"]
    assert processes_of(job) == []


@pytest.mark.slow
def test_traceback_of_any_rank_is_in_the_log(sweep: Callable[..., Path], deadly: list[str]) -> None:
    folder = sweep(*deadly, "model.death=raise in rank 1", "sweep.processes=2", code=1)
    (log,) = folder.glob("*/run.log")
    assert "error: rank 1: Traceback" in log.read_text()


@linux
@pytest.mark.slow
def test_ranks_end_with_the_driver(busy: list[str], workdir: Path) -> None:
    driver = start(*busy, "seed=0,1", "sweep.jobs=1", cwd=workdir)
    wait_until(lambda: bool(list(workdir.glob("outputs/*/*/*/checkpoints/last.pt"))))
    (job,) = workdir.glob("outputs/*/*/seed=0")
    ranks = processes_of(job)
    driver.kill()
    driver.communicate()
    wait_until(lambda: processes_of(job) == [])
    assert len(ranks) == 2


@linux
@pytest.mark.slow
def test_ranks_listen_on_the_loopback_interface_only(busy: list[str], workdir: Path) -> None:
    driver = start(*busy, "seed=0,1", "sweep.jobs=1", cwd=workdir)
    wait_until(lambda: bool(list(workdir.glob("outputs/*/*/*/checkpoints/last.pt"))))
    (job,) = workdir.glob("outputs/*/*/seed=0")
    addresses = [listening(pid) for pid in processes_of(job)]
    driver.kill()
    driver.communicate()
    loopback = socket.inet_aton("127.0.0.1")[::-1].hex().upper()
    assert addresses == [{loopback}, {loopback}]


@pytest.mark.slow
def test_interrupted_jobs_of_several_processes_are_resumed(busy: list[str], workdir: Path) -> None:
    driver = start(*busy, "sweep.jobs=2", "seed=0,1", "trainer.epochs=20", cwd=workdir)
    wait_until(lambda: len(list(workdir.glob("outputs/*/*/*/checkpoints/last.pt"))) == 2)
    driver.send_signal(signal.SIGINT)
    finish(driver, code=130)
    (folder,) = workdir.glob("outputs/*/*")
    found = [results(folder / job) for job in ("seed=0", "seed=1")]
    assert [each["status"] for each in found] == ["interrupted"] * 2
    assert cli.main(["resume", str(folder)]) == 0
    found = [results(folder / job) for job in ("seed=0", "seed=1")]
    assert [(each["status"], each["resumed"]) for each in found] == [("completed", 1)] * 2


@pytest.mark.slow
def test_job_of_several_processes_resumes_with_one(sweep: Callable[..., Path]) -> None:
    job = sweep("sweep.processes=2", "seed=0,1") / "seed=0"
    assert cli.main(["resume", str(job), "trainer.epochs=3"]) == 0
    assert results(job)["epoch"] == 3


@pytest.mark.slow
def test_jobs_of_several_processes_are_stopped_early(sweep: Callable[..., Path]) -> None:
    folder = sweep(
        *("optim.lr=0.1,1e-9", "trainer.epochs=4", "trainer.batch_size=64", "sweep.jobs=1", "sweep.processes=2"),
        *("sweep.asha.min_epochs=2", "sweep.asha.reduction=2"),
    )
    assert results(folder / "optim.lr=1e-09")["status"] == "stopped early"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            ["trainer.shards=4,1", "sweep.processes=3"],
            "trainer.shards: found 4 with 3 processes; allowed: 1, 2, 4 processes  [in 1 of 2 jobs: trainer.shards=4]",
        ),
        (["seed=0,1", "sweep.processes=0"], "sweep.processes: found 0"),
        (["sweep.processes=1,2"], "sweep.processes: found 1 and 2; it holds for the whole sweep"),
        (["device.name=mps,cpu", "sweep.processes=2"], "device.name: found 'mps'; allowed under torchrun"),
    ],
)
def test_problem_with_the_number_of_processes_prevents_the_sweep(
    workdir: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    assert cli.main(["-m", *TINY, *arguments]) == 2
    assert problem in capsys.readouterr().err
    assert list(workdir.iterdir()) == []


def test_sweep_under_torchrun_is_refused(
    workdir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["-m", *TINY, "seed=0,1"]) == 2
    assert "With sweep.processes=N, it trains each job in N processes" in capsys.readouterr().err


def test_checks_see_the_world_size_only_within_the_block() -> None:
    before = dict(os.environ)
    with world_of(3):
        assert world_size() == 3
    assert dict(os.environ) == before


def test_variables_of_an_outer_torchrun_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"TORCHELASTIC_RUN_ID": "1", "RUNNER_STORE": "old", "RANK": "7"}
    monkeypatch.setattr(os, "environ", given)
    set_environment({"RANK": "1"})
    assert given == {"RANK": "1"}


@linux
def test_ranks_on_one_machine_use_the_loopback_interface(tmp_path: Path) -> None:
    found = on_loopback(tmp_path / "store")
    assert (found["GLOO_SOCKET_IFNAME"], found["NCCL_SOCKET_IFNAME"]) == ("lo", "lo")


def test_cores_are_shared_by_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 8)
    shared = [Machine.share(jobs, [], 99, processes) for jobs, processes in ((None, 2), (None, 3), (1, 3), (None, 16))]
    assert [(each.slots, each.threads) for each in shared] == [(4, 1), (2, 1), (1, 2), (1, 1)]
    assert shared[2].describe(2) == "1 at a time, 3 processes per job, 2 threads each"


def test_each_job_gets_a_gpu_for_each_process() -> None:
    shared = Machine.share(None, ["3", "5", "7", "8", "9"], 99, 2)
    assert shared.slots == 2
    assert [shared.visible(place) for place in range(3)] == ["3,5", "7,8", "3,5"]
    assert Machine.share(None, ["3", "5"], 99).visible(1) == "5"
    assert Machine.share(None, [], 99, 2).visible(0) is None


def test_job_with_more_processes_than_gpus_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"sweep.processes: found 4, but this machine has 2 GPU\(s\)"):
        Machine.share(None, ["0", "1"], 99, 4)


def test_command_of_a_job_starts_as_many_processes(tiny: Callable[..., Any]) -> None:
    job = Job("job", [], [], {}, tiny("sweep.processes=2"))
    assert job.command(["seed=1"]).startswith("torchrun --standalone --nproc_per_node=2 -m runner seed=1")


def started(*functions: Callable[[], None]) -> Ranks:
    """Return ranks of which each calls a function."""
    left = list(functions)

    def begin(environment: Mapping[str, str]) -> ForkServerProcess:
        return server.start_process(left.pop(0))

    return Ranks(begin, len(functions), {})


def exits(code: int) -> Callable[[], None]:
    """Return a function that ends its process."""
    return functools.partial(os._exit, code)


SLEEPS = functools.partial(time.sleep, 60)
DIES = functools.partial(signal.raise_signal, signal.SIGKILL)


def test_killed_rank_is_blamed_rather_than_those_that_failed_without_it() -> None:
    ranks = started(SLEEPS, exits(1), DIES)
    for process in ranks.processes[1:]:
        process.join()
    ranks.kill()
    ranks.processes[0].join()
    assert ranks.blame() == (2, -signal.SIGKILL)
    ranks.end()


def test_rank_0_is_blamed_if_no_other_has_failed() -> None:
    ranks = started(exits(0), exits(0))
    for process in ranks.processes:
        process.join()
    assert ranks.blame() == (0, 0)
    ranks.end()


def test_job_is_stuck_some_time_after_a_rank_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE", 0.1)
    ranks = started(SLEEPS, exits(0), exits(7))
    for process in ranks.processes[1:]:
        process.join()
    assert not ranks.is_stuck()
    time.sleep(0.11)
    assert ranks.is_stuck()
    ranks.end()


def test_rank_that_has_finished_leaves_the_job_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE", 0)
    ranks = started(SLEEPS, exits(0))
    ranks.processes[1].join()
    ranks.is_stuck()
    time.sleep(0.01)
    assert not ranks.is_stuck()
    ranks.end()


def test_end_of_a_job_kills_its_ranks_and_deletes_their_store() -> None:
    ranks = started(SLEEPS, SLEEPS)
    pids = [process.pid for process in ranks.processes]
    assert ranks.store is not None
    assert ranks.store.exists()
    ranks.end()
    assert not ranks.store.exists()
    assert not any(processes.is_alive(pid) for pid in pids if pid is not None)


def test_ranks_are_killed_if_one_cannot_be_started() -> None:
    begun: list[ForkServerProcess] = []
    pids: list[int | None] = []

    def begin(environment: Mapping[str, str]) -> ForkServerProcess:
        if begun:
            raise OSError("no memory")
        begun.append(server.start_process(SLEEPS))
        pids.append(begun[0].pid)
        return begun[0]

    with pytest.raises(OSError, match="no memory"):
        Ranks(begin, 2, {})
    assert not any(processes.is_alive(pid) for pid in pids if pid is not None)
