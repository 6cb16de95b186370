"""Tests of ASHA in sweeps whose jobs differ in speed, or are interrupted."""

import random
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from conftest import TINY
from faults.test_sweeps import is_left, only_sweep, table
from helpers import checkpoint, equal, finish, metrics_table, results, start, wait_until

pytestmark = pytest.mark.slow
PLUGIN = """
import os, time
from runner.model.mlp import MLP
from runner.registry import MODELS

@MODELS.register("delayed")
class Delayed(MLP):
    def __init__(self, in_shape: tuple[int, ...], out_features: int, number: int) -> None:
        super().__init__(in_shape, out_features, [16])
        self.number = number

    def forward(self, inputs):
        if self.training and inputs.device.type != "meta":
            time.sleep(float(os.environ["DELAYS"].split(",")[self.number]))
        return super().forward(inputs)
"""
SWEEP = [
    *("-m", "--config-dir", "conf", "plugins=[delayed]", "model=delayed", *TINY[2:], "device.threads=1"),
    *("trainer.epochs=5", "trainer.batch_size=64", "sweep.asha.min_epochs=1", "sweep.asha.reduction=2"),
    *("sweep.zip=true", "optim.lr=0.003,0.1,0.3,0.01,0.2,0.15", "model.number=range(6)"),
]
EQUAL = ",".join(["0"] * 6)


def prepared(folder: Path) -> Path:
    """Create the plugin in a new folder, and return it."""
    (folder / "conf" / "model").mkdir(parents=True)
    (folder / "conf" / "model" / "delayed.yaml").write_text("name: delayed\nnumber: 0\n")
    (folder / "delayed.py").write_text(PLUGIN)
    return folder


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    return prepared(tmp_path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a sweep that has run one job at a time."""
    workdir = prepared(tmp_path_factory.mktemp("undisturbed"))
    finish(start(*SWEEP, "sweep.jobs=1", cwd=workdir, DELAYS=EQUAL))
    return only_sweep(workdir)


def assert_equal(found: Path, expected: Path) -> None:
    """Assert that two sweeps have the same table and the same runs, bit for bit."""
    rows = [[job | {"overrides": None} for job in table(folder)["jobs"]] for folder in (found, expected)]
    assert rows[0] == rows[1]  # overrides contain sweep.jobs
    assert table(found)["best"] == table(expected)["best"]
    for job in [path.name for path in expected.iterdir() if path.is_dir()]:
        assert metrics_table(found / job) == metrics_table(expected / job)
        assert equal(checkpoint(found / job), checkpoint(expected / job))


def test_some_jobs_are_stopped_early(undisturbed: Path) -> None:
    epochs = {path.name: results(path)["epoch"] for path in undisturbed.iterdir() if path.is_dir()}
    assert sorted(epochs.values())[0] == 1
    assert 5 in epochs.values()
    assert len(set(epochs.values())) > 2  # jobs were stopped at different rungs


@pytest.mark.parametrize(
    ("jobs", "delays"),
    [(2, "0.03,0,0,0,0,0"), (2, "0,0.02,0,0.03,0,0"), (4, "0.03,0.02,0.01,0,0.02,0")],
)
def test_decisions_do_not_depend_on_the_speed_of_jobs(undisturbed: Path, workdir: Path, jobs: int, delays: str) -> None:
    finish(start(*SWEEP, f"sweep.jobs={jobs}", cwd=workdir, DELAYS=delays))
    folder = only_sweep(workdir)
    assert_equal(folder, undisturbed)
    assert not (folder / ".jobs.json").exists()


def test_decisions_are_the_same_after_the_driver_was_killed(undisturbed: Path, tmp_path: Path) -> None:
    draw, kills = random.Random(2), 0
    for number in range(3):
        workdir = prepared(tmp_path / str(number))
        delays = ",".join(str(draw.choice([0, 0.01, 0.04])) for _ in range(6))
        driver = start(*SWEEP, "sweep.jobs=3", cwd=workdir, DELAYS=delays)
        wait_until(partial(has_trained, workdir))
        time.sleep(draw.uniform(0, 2))
        driver.kill()
        driver.communicate()
        kills += driver.returncode == -signal.SIGKILL
        wait_until(partial(is_left, workdir))
        folder = only_sweep(workdir)
        finish(start("resume", str(folder), cwd=workdir, DELAYS=EQUAL))
        assert_equal(folder, undisturbed)
    assert kills >= 2


def has_trained(workdir: Path) -> bool:
    return any(workdir.glob("outputs/*/*/*/metrics.csv"))


def test_waiting_job_saves_on_a_signal_and_decides_when_it_is_resumed(undisturbed: Path, workdir: Path) -> None:
    driver = start(*SWEEP, "sweep.jobs=2", cwd=workdir, DELAYS="1,0,0,0,0,0")
    wait_until(lambda: any(workdir.glob("outputs/*/*/*number=1/checkpoints/last.pt")))
    time.sleep(0.5)
    driver.send_signal(signal.SIGINT)
    finish(driver, code=130)
    folder = only_sweep(workdir)
    (waited,) = folder.glob("*number=1")
    assert checkpoint(waited)["next"] == "decide"
    assert (results(waited)["status"], results(waited)["epoch"]) == ("interrupted", 1)
    finish(start("resume", str(folder), cwd=workdir, DELAYS=EQUAL))
    assert_equal(folder, undisturbed)


def test_waiting_job_exceeds_the_time_limit(workdir: Path) -> None:
    driver = start(*SWEEP, "sweep.jobs=2", "sweep.timeout=10", cwd=workdir, DELAYS="1,0,0,0,0,0")
    output = finish(driver, code=1)
    assert "did not finish within 10 seconds" in output
    statuses = [job["status"] for job in table(only_sweep(workdir))["jobs"]]
    assert statuses[:2] == ["failed", "failed"]
    assert set(statuses[2:]) <= {"completed", "stopped early"}


def test_all_ranks_wait_and_agree(workdir: Path) -> None:
    arguments = [*SWEEP[:-2], "optim.lr=0.1,0.003,0.2", "model.number=range(3)", "sweep.processes=2"]
    found = []
    for number, (jobs, delays) in enumerate([(1, "0,0,0"), (3, "0.1,0,0.05")]):
        folder = prepared(workdir / str(number))
        finish(start(*arguments, f"sweep.jobs={jobs}", cwd=folder, DELAYS=delays))
        found.append(only_sweep(folder))
    assert_equal(*found)
    assert "stopped early" in [job["status"] for job in table(found[0])["jobs"]]
