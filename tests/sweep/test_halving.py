import itertools
import json
from pathlib import Path

import pytest

from runner.config.compose import compose_config
from runner.sweep.halving import ROSTER, Roster, Rungs, read_roster
from runner.sweep.jobs import Job, Sweep

NAMES = ("a", "b", "c", "d", "e", "f", "g", "h")


def write(sweep: Path, job: str, *losses: float) -> Path:
    """Write a job that has trained one epoch for each loss, and return its folder."""
    folder = sweep / job
    folder.mkdir(exist_ok=True)
    rows = [f"{epoch},{loss}" for epoch, loss in enumerate(losses, start=1)]
    (folder / "metrics.csv").write_text("\n".join(["epoch,val/loss", *rows]) + "\n")
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Return the folder of a sweep with the jobs a, b, ..., h in this order."""
    (tmp_path / "sweep.yaml").write_text("jobs:\n" + "".join(f"- {{folder: {name}}}\n" for name in NAMES))
    return tmp_path


def rungs(folder: Path, *overrides: str, waits: bool = False) -> Rungs:
    found = Rungs.of(compose_config(["sweep.asha.min_epochs=1", *overrides]), folder, waits)
    assert found is not None
    return found


def not_ended(sweep: Path, *names: str) -> None:
    """Write the roster of a driver in which these jobs have not ended."""
    (sweep / ROSTER).write_text(json.dumps({name: name in names for name in NAMES}))


def test_rungs_are_spaced_by_powers_of_the_reduction(sweep: Path) -> None:
    found = rungs(sweep / "a", "sweep.asha.min_epochs=2", "sweep.asha.reduction=3")
    assert [epoch for epoch in range(1, 60) if found.is_rung(epoch)] == [2, 6, 18, 54]


def test_first_job_of_a_sweep_always_continues(sweep: Path) -> None:
    write(sweep, "b", 1.0)
    not_ended(sweep, *NAMES)
    assert rungs(write(sweep, "a", 9.0), waits=True).is_behind(1) is False


def test_job_outside_the_best_third_stops(sweep: Path) -> None:
    for number, name in enumerate(NAMES[:5]):
        write(sweep, name, float(number))
    best, second, third = (write(sweep, name, value) for name, value in (("f", -2.0), ("g", -1.0), ("h", -0.5)))
    assert rungs(best).is_behind(1) is False
    assert rungs(second).is_behind(1) is False  # seven jobs up to this one: two of them continue
    assert rungs(third).is_behind(1) is True


def test_later_jobs_do_not_count(sweep: Path) -> None:
    write(sweep, "a", 5.0)
    write(sweep, "c", 1.0)
    assert rungs(write(sweep, "b", 2.0)).is_behind(1) is False


def test_larger_metric_is_better_with_mode_max(sweep: Path) -> None:
    write(sweep, "a", 1.0)
    larger = rungs(write(sweep, "b", 2.0), "trainer.checkpoint.mode=max", "trainer.checkpoint.metric=val/loss")
    assert larger.is_behind(1) is False
    assert rungs(sweep / "b").is_behind(1) is True


def test_no_job_stops_between_rungs(sweep: Path) -> None:
    write(sweep, "a", 1.0, 1.0)
    assert rungs(write(sweep, "b", 2.0, 2.0)).is_behind(2) is False


def test_ended_jobs_that_did_not_reach_the_rung_or_are_unreadable_do_not_count(sweep: Path) -> None:
    write(sweep, "a", 1.0)
    (write(sweep, "b") / "metrics.csv").write_text("epoch,val/loss\n3,0.1")  # the line is incomplete
    (write(sweep, "c") / "metrics.csv").write_bytes(b"\xff\xfe")
    not_ended(sweep, "e")
    assert rungs(write(sweep, "e", 2.0, 2.0, 2.0), waits=True).is_behind(3) is False


def test_nan_is_the_worst_value(sweep: Path) -> None:
    write(sweep, "a", 1.0)
    assert rungs(write(sweep, "b", float("nan"))).is_behind(1) is True


def test_no_rungs_outside_a_sweep_or_without_min_epochs(sweep: Path, tmp_path: Path) -> None:
    assert Rungs.of(compose_config(), sweep / "a") is None
    assert Rungs.of(compose_config(["sweep.asha.min_epochs=1"]), tmp_path / "elsewhere" / "a") is None


def test_latest_validation_counts_if_there_is_none_at_the_rung(sweep: Path) -> None:
    for job, losses in {"a": "1,1.0\n2,\n", "b": "1,2.0\n2,\n", "c": "1,\n2,\n"}.items():
        write(sweep, job)
        (sweep / job / "metrics.csv").write_text("epoch,val/loss\n" + losses)
    found = {job: rungs(sweep / job, "sweep.asha.min_epochs=2").is_behind(2) for job in "abc"}
    assert found == {"a": False, "b": True, "c": False}


def test_job_waits_until_earlier_jobs_have_reached_the_rung_or_ended(sweep: Path) -> None:
    job = rungs(write(sweep, "c", 2.0), waits=True)
    write(sweep, "a", 3.0)
    not_ended(sweep, "a", "b", "c", "d")
    assert job.is_behind(1) is None  # b has not started
    not_ended(sweep, "a", "c", "d")
    assert job.is_behind(1) is False  # b has ended without reaching it
    not_ended(sweep, "a", "b", "c", "d")
    write(sweep, "b", 1.0)
    assert job.is_behind(1) is True


def test_job_of_another_launcher_does_not_wait(sweep: Path) -> None:
    assert rungs(write(sweep, "c", 2.0), waits=True).is_behind(1) is False


def test_run_that_is_resumed_alone_does_not_wait(sweep: Path) -> None:
    not_ended(sweep, *NAMES)  # left by a driver that was killed
    assert rungs(write(sweep, "c", 2.0)).is_behind(1) is False


def decisions(sweep: Path, order: tuple[str, ...]) -> dict[str, list[bool]]:
    """Return the decisions of each job at its rungs, if jobs come to their next epoch in this order when they can."""
    losses = {"a": (5.0, 5.0), "b": (4.0, 6.0), "c": (4.5, 0.0), "d": (3.0, 4.0)}
    done: dict[str, list[bool]] = {name: [] for name in losses}
    running, jobs = set(losses), {name: rungs(sweep / name, "sweep.asha.reduction=2", waits=True) for name in losses}
    while running:
        for name in [each for each in order if each in running]:
            not_ended(sweep, *running)
            epoch = len(done[name]) + 1
            write(sweep, name, *losses[name][:epoch])
            answer = jobs[name].is_behind(epoch)
            if answer is None:
                continue
            done[name].append(answer)
            if answer or epoch == len(losses[name]):
                running.remove(name)
            break
    return done


@pytest.mark.parametrize("order", list(itertools.permutations("abcd")))
def test_decisions_do_not_depend_on_which_job_is_faster(sweep: Path, order: tuple[str, ...]) -> None:
    expected = {"a": [False, False], "b": [False, True], "c": [True], "d": [False, False]}
    assert decisions(sweep, order) == expected


def test_roster_lists_the_jobs_in_order_until_it_is_deleted(tmp_path: Path) -> None:
    config = compose_config(["sweep.asha.min_epochs=1"])
    jobs = [Job(name, [], [], {}, config) for name in "ba"]
    roster = Roster(Sweep(tmp_path, jobs))
    roster.update(jobs[1:])
    assert list(read_roster(tmp_path).items()) == [("b", False), ("a", True)]
    roster.delete()
    assert list(tmp_path.iterdir()) == []


def test_roster_that_cannot_be_updated_is_deleted(tmp_path: Path) -> None:
    jobs = [Job(name, [], [], {}, compose_config(["sweep.asha.min_epochs=1"])) for name in "ab"]
    roster = Roster(Sweep(tmp_path, jobs))
    roster.update(jobs)
    (tmp_path / f".{ROSTER}.part").mkdir()  # the temporary file cannot be created
    roster.update(jobs[1:])
    assert read_roster(tmp_path) == {}


def test_sweep_without_asha_has_no_roster(tmp_path: Path) -> None:
    jobs = [Job("a", [], [], {}, compose_config())]
    Roster(Sweep(tmp_path, jobs)).update(jobs)
    assert list(tmp_path.iterdir()) == []
