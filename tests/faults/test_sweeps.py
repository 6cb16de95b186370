"""Tests of sweeps whose driver, server or jobs are killed."""

import csv
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conftest import TINY
from helpers import checkpoint, equal, finish, metrics_table, results, scalars, signal_all, start, wait_until

pytestmark = pytest.mark.slow
SWEEP = ["-m", *TINY, "trainer.batch_size=16", "trainer.epochs=3", "optim.lr=0.3,0.1,0.03", "seed=0,1"]
TIMINGS = ("seconds", "started", "finished", "samples_per_second", "resumed", "command")


def table(folder: Path) -> Any:
    """Return sweep.json without timings."""
    return without_timings(json.loads((folder / "sweep.json").read_text()))


def without_timings(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: without_timings(value) for key, value in values.items() if key not in TIMINGS}
    return [without_timings(value) for value in values] if isinstance(values, list) else values


def only_sweep(workdir: Path) -> Path:
    (folder,) = workdir.glob("outputs/*/*")
    return folder


def processes_in(folder: Path) -> list[int]:
    """Return the ids of the running processes with this working directory, except this process."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            if (
                int(each.name) != os.getpid()
                and (each / "cwd").readlink() == folder
                and "Z" not in (each / "stat").read_text().rsplit(")")[1][:3]
            ):
                found.append(int(each.name))
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("undisturbed")
    finish(start(*SWEEP, cwd=workdir))
    return only_sweep(workdir)


def test_resume_after_killed_driver_gives_the_same_table(undisturbed: Path, tmp_path: Path) -> None:
    draw = random.Random(5)
    whole = results_time(undisturbed)
    kills = 0
    for number in range(20):
        workdir = tmp_path / str(number)
        workdir.mkdir()
        driver = start(*SWEEP, cwd=workdir)
        if draw.random() < 0.9:
            wait_until(partial(has_begun, workdir))
        time.sleep(draw.uniform(0, whole))
        driver.kill()
        driver.communicate()
        kills += driver.returncode == -signal.SIGKILL
        wait_until(partial(is_left, workdir))  # the jobs end when their driver is killed
        if not list(workdir.glob("outputs/*/*/sweep.yaml")):
            continue  # killed before the sweep was created
        folder = only_sweep(workdir)
        finish(start("resume", str(folder), cwd=workdir))
        assert table(folder) == table(undisturbed)
        for job in jobs_in(undisturbed):
            assert metrics_table(folder / job.name) == metrics_table(job)
            assert equal(checkpoint(folder / job.name), checkpoint(job))
            assert scalars(folder / job.name) == scalars(job)
    assert kills >= 10


def test_race_decides_the_same_after_several_kills_of_its_driver(tmp_path: Path) -> None:
    race = ["-m", *TINY, "trainer.batch_size=64", "optim.lr=0.0001,0.2,0.1,0.05", "sweep.race.max_seeds=8"]
    (tmp_path / "undisturbed").mkdir()
    begun = time.monotonic()
    finish(start(*race, cwd=tmp_path / "undisturbed"))
    whole, undisturbed = time.monotonic() - begun, only_sweep(tmp_path / "undisturbed")
    statuses = [job["status"] for job in table(undisturbed)["jobs"]]
    assert 1 < statuses.count("dropped") < 16  # there are several looks
    draw, kills = random.Random(7), 0
    for number in range(2):
        workdir = tmp_path / str(number)
        workdir.mkdir()
        driver = start(*race, cwd=workdir)
        wait_until(partial(has_begun, workdir))
        folder = only_sweep(workdir)
        for _ in range(4):
            time.sleep(draw.uniform(0, whole / 2))
            driver.kill()
            driver.communicate()
            kills += driver.returncode == -signal.SIGKILL
            wait_until(partial(is_left, workdir))
            driver = start("resume", str(folder), cwd=workdir)
        finish(driver)
        assert table(folder) == table(undisturbed)
        for job in [undisturbed / job["job"] for job in table(undisturbed)["jobs"] if job["status"] == "completed"]:
            assert metrics_table(folder / job.name) == metrics_table(job)
            assert equal(checkpoint(folder / job.name), checkpoint(job))
    assert kills >= 5


def has_begun(workdir: Path) -> bool:
    return any(workdir.glob("outputs/*/*/*/results.json"))


def is_left(workdir: Path) -> bool:
    return processes_in(workdir) == []


def jobs_in(folder: Path) -> list[Path]:
    """Return the run folders of a sweep; others, such as mean/, have no results."""
    return [path.parent for path in sorted(folder.glob("*/results.json"))]


def results_time(folder: Path) -> float:
    """Return the approximate duration of the sweep in seconds, with two jobs in parallel."""
    seconds: list[float] = [results(path)["seconds"]["total"] for path in jobs_in(folder)]
    return sum(seconds) / 2


def test_jobs_and_workers_end_when_the_driver_is_killed(tmp_path: Path) -> None:
    streamed = ["dataset.in_memory=false", "dataset.workers=2", "trainer.epochs=5000"]
    driver = start("-m", *TINY, *streamed, "seed=0,1", cwd=tmp_path)
    wait_until(lambda: len(list(tmp_path.glob("outputs/*/*/*/checkpoints/last.pt"))) == 2)
    assert len(processes_in(tmp_path)) > 4
    driver.kill()
    driver.communicate()
    wait_until(partial(is_left, tmp_path))


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG; elsewhere a thread of the job polls")
def test_stuck_jobs_end_when_the_driver_is_killed(tmp_path: Path, deadly: list[str]) -> None:
    driver = start("-m", *deadly, "model.death=stuck", "seed=0,1", cwd=tmp_path)
    wait_until(lambda: len(list(tmp_path.glob("outputs/*/*/*/results.json"))) == 2)
    time.sleep(1)
    jobs = len(processes_in(tmp_path))
    driver.kill()
    driver.communicate(timeout=60)  # the jobs keep the pipe open
    wait_until(partial(is_left, tmp_path))
    assert jobs > 3  # driver, server and two jobs


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_saves_jobs_and_sweep_can_be_resumed(tmp_path: Path, number: signal.Signals, code: int) -> None:
    arguments = ["-m", *TINY, "trainer.batch_size=16", "trainer.epochs=150", "seed=0,1,2"]
    driver = start(*arguments, cwd=tmp_path)
    wait_until(lambda: len(list(tmp_path.glob("outputs/*/*/*/checkpoints/last.pt"))) == 2)
    driver.send_signal(number)
    output = finish(driver, code=code)
    folder = only_sweep(tmp_path)
    found = {path.name: results(path)["status"] for path in jobs_in(folder)}
    assert found == {"seed=0": "interrupted", "seed=1": "interrupted"}
    assert "left     3 jobs: seed=0, seed=1, seed=2" in output
    assert f"resume   python -m runner resume {folder.relative_to(tmp_path)}" in output
    finish(start("resume", str(folder), cwd=tmp_path))
    assert [job["status"] for job in table(folder)["jobs"]] == ["completed"] * 3
    assert (results(folder / "seed=0")["resumed"], results(folder / "seed=2")["resumed"]) == (1, 0)


def test_jobs_save_when_all_processes_are_signaled(tmp_path: Path) -> None:
    driver = start("-m", *TINY, "trainer.batch_size=16", "trainer.epochs=3000", "seed=0,1", cwd=tmp_path)
    wait_until(lambda: len(list(tmp_path.glob("outputs/*/*/*/checkpoints/last.pt"))) == 2)
    signal_all(driver.pid, signal.SIGTERM)
    finish(driver, code=143)
    assert [job["status"] for job in table(only_sweep(tmp_path))["jobs"]] == ["interrupted"] * 2


def test_hanging_job_is_killed_after_the_grace_period(tmp_path: Path, deadly: list[str]) -> None:
    driver = start("-m", *deadly, "model.death=hang", "seed=0,1", cwd=tmp_path)
    wait_until(lambda: len(list(tmp_path.glob("outputs/*/*/*/results.json"))) == 2)
    time.sleep(1)
    driver.send_signal(signal.SIGTERM)
    finish(driver, code=143)
    assert [job["status"] for job in table(only_sweep(tmp_path))["jobs"]] == ["interrupted"] * 2


def test_sweep_runs_with_closed_standard_streams(tmp_path: Path) -> None:
    shell = shlex.join([sys.executable, "-m", "runner", "-m", *TINY, "seed=0,1"]) + " <&- >&- 2>&-"
    subprocess.run(shell, shell=True, cwd=tmp_path, check=True)
    assert [job["status"] for job in table(only_sweep(tmp_path))["jobs"]] == ["completed"] * 2


def test_second_signal_kills_the_jobs_at_once(tmp_path: Path, deadly: list[str]) -> None:
    driver = start("-m", *deadly, "model.death=hang", "seed=0,1", cwd=tmp_path)
    wait_until(lambda: len(list(tmp_path.glob("outputs/*/*/*/results.json"))) == 2)
    time.sleep(1)
    driver.send_signal(signal.SIGINT)
    time.sleep(0.5)
    driver.send_signal(signal.SIGINT)
    finish(driver, code=130)
    folder = only_sweep(tmp_path)
    assert {results(path)["status"] for path in jobs_in(folder)} == {"interrupted"}


def test_killed_job_is_reported_and_resumed(tmp_path: Path) -> None:
    driver = start("-m", *TINY, "trainer.batch_size=16", "trainer.epochs=300", "seed=0,1", cwd=tmp_path)
    wait_until(lambda: bool(list(tmp_path.glob("outputs/*/*/seed=0/checkpoints/last.pt"))))
    folder = only_sweep(tmp_path)
    os.kill(json.loads((folder / "seed=0" / ".lock").read_text())["pid"], signal.SIGKILL)
    output = finish(driver, code=1)
    assert "seed=0: Killed: killed by SIGKILL" in output
    assert results(folder / "seed=1")["status"] == "completed"
    step = results(folder / "seed=0")["step"]
    assert step > 0
    finish(start("resume", str(folder), cwd=tmp_path))
    assert results(folder / "seed=0")["status"] == "completed"


def test_killed_server_fails_only_the_running_jobs(tmp_path: Path) -> None:
    driver = start("-m", *TINY, "trainer.batch_size=16", "trainer.epochs=150", "seed=0,1,2", cwd=tmp_path)
    wait_until(lambda: len(list(tmp_path.glob("outputs/*/*/*/checkpoints/last.pt"))) == 2)
    (server,) = [number for number in processes_in(tmp_path) if parent_of(number) == driver.pid and is_server(number)]
    os.kill(server, signal.SIGKILL)
    output = finish(driver, code=1)
    folder = only_sweep(tmp_path)
    for killed in ("seed=0", "seed=1"):
        assert results(folder / killed)["status"] == "failed"
        assert f"{killed}: Killed: lost with the fork server, which was killed" in output
    assert results(folder / "seed=2")["status"] == "completed"
    finish(start("resume", str(folder), cwd=tmp_path))
    assert [job["status"] for job in table(folder)["jobs"]] == ["completed"] * 3


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rsplit(")")[1].split()[1])


def is_server(process: int) -> bool:
    return b"multiprocessing.forkserver" in command_of(process)


def command_of(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()


def test_concurrent_sweeps_are_independent(undisturbed: Path, tmp_path: Path) -> None:
    for driver in [start(*SWEEP, cwd=tmp_path) for _ in range(3)]:
        finish(driver)
    folders = list(tmp_path.glob("outputs/*/*"))
    assert len(folders) == 3
    for folder in folders:
        assert table(folder) == table(undisturbed)


def test_driver_memory_does_not_grow_with_jobs(tmp_path: Path) -> None:
    arguments = ["-m", *TINY, "trainer.epochs=1", "seed=range(100)"]
    driver = start(*arguments, cwd=tmp_path)
    sizes: dict[int, int] = {}
    while driver.poll() is None:
        ended = len([path for path in tmp_path.glob("outputs/*/*/*/results.json") if '"completed"' in path.read_text()])
        for line in Path(f"/proc/{driver.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                sizes[ended] = int(line.split()[1])
        time.sleep(0.2)
    finish(driver)
    after_ten = max(size for ended, size in sizes.items() if 10 <= ended <= 20)
    running = [size for ended, size in sizes.items() if ended < 100]  # the verdict at the end imports scipy
    assert max(running) < after_ten + 20_000  # kB


@pytest.mark.parametrize("launcher", ["submitit_local", "ray", "basic"])
def test_other_launchers_run_the_same_jobs(tmp_path: Path, deadly: list[str], launcher: str) -> None:
    arguments = ["-m", *deadly, "trainer.epochs=2", f"hydra/launcher={launcher}", "model.death=none,kill,raise,once"]
    output = finish(start(*arguments, cwd=tmp_path), code=1)
    folder = only_sweep(tmp_path)
    with (folder / "sweep.csv").open(newline="") as file:
        rows = {row["model.death"]: (row["status"], row["error"]) for row in csv.DictReader(file)}
    assert rows["none"] == ("completed", "")
    assert rows["kill"][1].startswith("Killed: killed by SIGKILL")
    assert rows["raise"] == ("failed", "ValueError: on purpose")
    assert "1 completed, 3 failed" in output
    assert (folder / "sweep.png").exists()
    finish(start("resume", str(folder), "--retry-failed", cwd=tmp_path), code=1)
    assert results(folder / "model.death=once")["status"] == "completed"


@pytest.mark.parametrize("launcher", ["submitit_local", "ray", "basic"])
def test_signal_stops_sweeps_of_other_launchers(tmp_path: Path, launcher: str) -> None:
    arguments = [f"hydra/launcher={launcher}", *TINY, "trainer.batch_size=16", "trainer.epochs=3000", "seed=0,1"]
    driver = start("-m", *arguments, cwd=tmp_path)
    wait_until(lambda: bool(list(tmp_path.glob("outputs/*/*/*/checkpoints/last.pt"))))
    driver.send_signal(signal.SIGINT)
    driver.wait(timeout=120)
    # Jobs of other launchers keep running, and keep the output of the driver open.
    for number in processes_in(tmp_path):
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    output = finish(driver, code=130)
    folder = only_sweep(tmp_path)
    assert "left     2 jobs: seed=0, seed=1" in output
    assert f"resume   python -m runner resume {folder.relative_to(tmp_path)}" in output
    if launcher == "basic":  # the others do not forward the signal, or leave no time to save
        assert [job["status"] for job in table(folder)["jobs"]] == ["interrupted", "waiting"]


def test_preempted_job_saves_and_is_requeued(tmp_path: Path) -> None:
    driver = start(
        "-m", "hydra/launcher=submitit_local", "device.threads=1", "trainer.epochs=40", "seed=0", cwd=tmp_path
    )
    wait_until(lambda: bool(list(tmp_path.glob("outputs/*/*/*/checkpoints/last.pt"))))
    (job,) = [number for number in processes_in(tmp_path) if b"submitit.core._submit" in command_of(number)]
    signal_all(job, signal.SIGUSR2)  # as SLURM does on timeout or preemption
    finish(driver)
    (folder,) = [path.parent for path in tmp_path.glob("outputs/*/*/*/results.json")]
    assert results(folder)["status"] == "completed"
    assert results(folder)["resumed"] == 1
    assert "stopped and saved at step" in (folder / "run.log").read_text()
