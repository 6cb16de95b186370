"""Tests of searches that are stopped at any instant and resumed. They need the extra optuna."""

import random
import shutil
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from conftest import TINY
from faults.test_sweeps import is_left, only_sweep, table
from helpers import checkpoint, equal, finish, metrics_table, start, wait_until
from runner.sweep.jobs import Sweep
from runner.sweep.report.table import Table

pytestmark = pytest.mark.slow
SEARCH = [
    *("-m", "hydra/sweeper=optuna", "hydra.sweeper.n_jobs=2", "hydra.sweeper.sampler.n_startup_trials=2", *TINY),
    *("device.threads=1", "optim.lr=tag(log,interval(1e-3,1))", "optim.momentum=choice(0,0.5,0.9)"),
]
SEED = "hydra.sweeper.sampler.seed=3"
TRIALS = 7


def undisturbed_in(workdir: Path) -> Path:
    """Run a search to its end, and return its folder."""
    finish(start(*SEARCH, SEED, f"hydra.sweeper.n_trials={TRIALS}", cwd=workdir))
    return only_sweep(workdir)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return undisturbed_in(tmp_path_factory.mktemp("undisturbed"))


def assert_equal(found: Path, expected: Path) -> None:
    """Assert that two searches have the same trials, bit for bit, and report the same."""
    assert Sweep.open(found).jobs == Sweep.open(expected).jobs
    assert table(found) == table(expected)
    report = "optimization_results.yaml"
    assert (found / report).read_text() == (expected / report).read_text()
    for job in Sweep.open(expected).jobs:
        assert metrics_table(found / job.folder) == metrics_table(expected / job.folder)
        assert equal(checkpoint(found / job.folder), checkpoint(expected / job.folder))


def test_killed_search_goes_on_as_if_it_had_not_stopped(undisturbed: Path, tmp_path: Path) -> None:
    draw = random.Random(1)
    for begun in (1, 5):
        workdir = tmp_path / str(begun)
        workdir.mkdir()
        driver = start(*SEARCH, SEED, f"hydra.sweeper.n_trials={TRIALS}", cwd=workdir)
        wait_until(partial(has_begun, workdir, begun))
        time.sleep(draw.uniform(0, 1))
        driver.kill()
        driver.communicate()
        wait_until(partial(is_left, workdir))
        folder = only_sweep(workdir)
        finish(start("resume", str(folder), cwd=workdir))
        assert_equal(folder, undisturbed)


def test_search_killed_before_it_has_reported_is_reported_on_resume(undisturbed: Path, tmp_path: Path) -> None:
    folder = tmp_path / undisturbed.name
    shutil.copytree(undisturbed, folder)
    (folder / "optimization_results.yaml").unlink()
    Table(Sweep.open(folder)).save()  # as during the last trial: without a verdict
    assert "continues after" not in finish(start("resume", str(folder), cwd=tmp_path))
    assert_equal(folder, undisturbed)


def has_begun(workdir: Path, trials: int) -> bool:
    return trials_in(workdir) >= trials


def trials_in(workdir: Path) -> int:
    return len(list(workdir.glob("outputs/*/*/*/results.json")))


def test_signalled_search_goes_on_as_if_it_had_not_stopped(undisturbed: Path, tmp_path: Path) -> None:
    driver = start(*SEARCH, SEED, f"hydra.sweeper.n_trials={TRIALS}", cwd=tmp_path)
    wait_until(lambda: trials_in(tmp_path) >= 3)
    driver.send_signal(signal.SIGTERM)
    assert f"a resume finishes the trials and continues until {TRIALS} have run" in finish(driver, code=143)
    folder = only_sweep(tmp_path)
    finish(start("resume", str(folder), cwd=tmp_path))
    assert_equal(folder, undisturbed)


def test_ended_search_goes_on_with_more_trials(undisturbed: Path, tmp_path: Path) -> None:
    finish(start(*SEARCH, SEED, "hydra.sweeper.n_trials=3", cwd=tmp_path))  # the second batch has a single trial
    folder = only_sweep(tmp_path)
    assert "nothing is left to do" in finish(start("resume", str(folder), cwd=tmp_path))
    finish(start("resume", str(folder), "hydra.sweeper.n_trials=4", "sweep.jobs=1", cwd=tmp_path))
    found, expected = ([job.swept for job in Sweep.open(each).jobs] for each in (folder, undisturbed))
    assert found == expected[:4]


def test_search_without_a_seed_can_be_repeated(tmp_path: Path) -> None:
    driver = start(*SEARCH, "hydra.sweeper.n_trials=5", cwd=tmp_path)
    wait_until(lambda: trials_in(tmp_path) >= 3)
    driver.kill()
    driver.communicate()
    wait_until(partial(is_left, tmp_path))
    finish(start("resume", str(only_sweep(tmp_path)), cwd=tmp_path))
    assert [job["status"] for job in table(only_sweep(tmp_path))["jobs"]] == ["completed"] * 5


def test_resume_of_a_search_that_cannot_be_repeated_finishes_its_trials(tmp_path: Path) -> None:
    search = [*SEARCH[:3], *TINY, "hydra/sweeper/sampler=grid", "optim.lr=choice(0.1,0.2,0.3)", "trainer.epochs=200"]
    driver = start(*search, "hydra.sweeper.n_trials=3", cwd=tmp_path)
    wait_until(lambda: trials_in(tmp_path) == 2)
    driver.send_signal(signal.SIGINT)
    assert "proposes no new ones: the sampler GridSampler has no seed" in finish(driver, code=130)
    folder = only_sweep(tmp_path)
    assert "search   ends after 2 of 3 trials" in finish(start("resume", str(folder), cwd=tmp_path))
    assert [job["status"] for job in table(folder)["jobs"]] == ["completed"] * 2


def test_search_is_refused_after_its_config_files_have_changed(tmp_path: Path) -> None:
    (tmp_path / "conf" / "optim").mkdir(parents=True)
    own = tmp_path / "conf" / "optim" / "own.yaml"
    own.write_text("defaults: [sgd, _self_]\nmomentum: 0.9\n")
    arguments = ["--config-dir", "conf", *SEARCH[:-1], "optim=own", "hydra.sweeper.n_trials=1"]
    finish(start(*arguments, cwd=tmp_path))
    own.write_text("defaults: [sgd, _self_]\nmomentum: 0.5\n")
    output = finish(start("resume", str(only_sweep(tmp_path)), "hydra.sweeper.n_trials=2", cwd=tmp_path), code=2)
    assert "optim.momentum: found 0.5, but the search began with 0.9" in output
    assert len(Sweep.open(only_sweep(tmp_path)).jobs) == 1
