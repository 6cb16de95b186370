from pathlib import Path

import pytest

from runner.config.compose import compose_config
from runner.sweep.halving import Rungs


def write(sweep: Path, job: str, *losses: float) -> Path:
    """Write a job that has trained one epoch for each loss, and return its folder."""
    folder = sweep / job
    folder.mkdir(exist_ok=True)
    rows = [f"{epoch},{loss}" for epoch, loss in enumerate(losses, start=1)]
    (folder / "metrics.csv").write_text("\n".join(["epoch,val/loss", *rows]) + "\n")
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    (tmp_path / "sweep.yaml").write_text("jobs: []\n")
    return tmp_path


def rungs(folder: Path, *overrides: str) -> Rungs:
    found = Rungs.of(compose_config(["sweep.asha.min_epochs=1", *overrides]), folder)
    assert found is not None
    return found


def test_rungs_are_spaced_by_powers_of_the_reduction(sweep: Path) -> None:
    found = rungs(sweep / "a", "sweep.asha.min_epochs=2", "sweep.asha.reduction=3")
    assert [epoch for epoch in range(1, 60) if found.is_rung(epoch)] == [2, 6, 18, 54]


def test_first_job_to_reach_a_rung_continues(sweep: Path) -> None:
    write(sweep, "b")
    assert not rungs(write(sweep, "a", 9.0)).is_behind(1)


def test_job_outside_the_best_third_stops(sweep: Path) -> None:
    for number in range(5):
        write(sweep, f"job{number}", float(number))
    best, second, third = (write(sweep, name, value) for name, value in (("x", -2.0), ("y", -1.0), ("z", -0.5)))
    assert not rungs(best).is_behind(1)
    assert not rungs(second).is_behind(1)  # eight jobs have reached this rung: two of them continue
    assert rungs(third).is_behind(1)


def test_larger_metric_is_better_with_mode_max(sweep: Path) -> None:
    write(sweep, "b", 1.0)
    larger = rungs(write(sweep, "a", 2.0), "trainer.checkpoint.mode=max", "trainer.checkpoint.metric=val/loss")
    assert not larger.is_behind(1)
    assert rungs(sweep / "a").is_behind(1)


def test_no_job_stops_between_rungs(sweep: Path) -> None:
    write(sweep, "b", 1.0, 1.0)
    assert not rungs(write(sweep, "a", 2.0, 2.0)).is_behind(2)


def test_jobs_that_are_behind_the_rung_or_unreadable_do_not_count(sweep: Path) -> None:
    write(sweep, "b", 1.0)
    (write(sweep, "c") / "metrics.csv").write_text("epoch,val/loss\n3")
    (write(sweep, "d") / "metrics.csv").write_bytes(b"\xff\xfe")
    assert not rungs(write(sweep, "a", 2.0, 2.0, 2.0)).is_behind(3)


def test_nan_is_the_worst_value(sweep: Path) -> None:
    write(sweep, "b", 1.0)
    assert rungs(write(sweep, "a", float("nan"))).is_behind(1)


def test_no_rungs_outside_a_sweep_or_without_min_epochs(sweep: Path, tmp_path: Path) -> None:
    assert Rungs.of(compose_config(), sweep / "a") is None
    assert Rungs.of(compose_config(["sweep.asha.min_epochs=1"]), tmp_path / "elsewhere" / "a") is None


def test_latest_validation_counts_if_there_is_none_at_the_rung(sweep: Path) -> None:
    for job, losses in {"a": "1,2.0\n2,\n", "b": "1,1.0\n2,\n", "c": "1,\n2,\n"}.items():
        write(sweep, job)
        (sweep / job / "metrics.csv").write_text("epoch,val/loss\n" + losses)
    found = {job: rungs(sweep / job, "sweep.asha.min_epochs=2").is_behind(2) for job in "abc"}
    assert found == {"a": True, "b": False, "c": False}
