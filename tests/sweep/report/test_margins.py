import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

from runner import cli
from runner.config.compose import compose_config
from runner.sweep.jobs import Job, Sweep
from runner.sweep.report import margins
from runner.sweep.report.table import Table


def make(folder: Path, jobs: dict[str, list[float]], status: str = "completed", logger: str = "tensorboard") -> Table:
    """Return the table of a sweep whose jobs, named such as "optim.lr=0.1,seed=1", have these losses by epoch."""
    found = []
    for name, losses in jobs.items():
        swept: dict[str, Any] = {key: float(value) for key, value in (each.split("=") for each in name.split(","))}
        found.append(Job(name, [], [], swept, compose_config([f"logger={logger}"])))
        record(folder / name, losses, status)
    return Table(Sweep(folder, found))


def record(folder: Path, losses: Sequence[float], status: str = "completed") -> None:
    """Write the files of a job with these losses by epoch."""
    folder.mkdir(exist_ok=True)
    values = {"status": status, "best": {"metric": "val/loss", "value": 0.5}, "finished": "2026-01-02T03:04:05+00:00"}
    (folder / "results.json").write_text(json.dumps(values))
    rows = [f"{epoch},{10 * epoch},{loss},0.1,2.5\n" for epoch, loss in enumerate(losses, 1)]
    (folder / "metrics.csv").write_text("".join(["epoch,step,val/loss,lr,seconds\n", *rows]))


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the points of each tag in the only event file of a folder."""
    (path,) = folder.glob("*tfevents*")
    found: dict[str, list[tuple[int, float]]] = {}
    for event in EventFileLoader(str(path)).Load():
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == "scalars":
                found.setdefault(value.tag, []).append((event.step, value.tensor.float_val[0]))
    return found


def events(folder: Path) -> dict[Path, bytes]:
    """Return the contents of the files with means."""
    return {path: path.read_bytes() for path in (folder / "mean").rglob("*") if path.is_file()}


def test_each_group_has_a_mean_and_a_band_of_one_standard_deviation(tmp_path: Path) -> None:
    jobs = {"optim.lr=0.1,seed=0": [4.0, 1.0], "optim.lr=0.1,seed=1": [2.0, 1.0], "optim.lr=0.1,seed=2": [3.0, 4.0]}
    margins.save(make(tmp_path, jobs | {"optim.lr=0.2,seed=0": [9.0], "optim.lr=0.2,seed=1": [7.0]}))
    found = scalars(tmp_path / "mean" / "optim.lr=0.1")
    assert found["val/loss"] == [(10, 3.0), (20, 2.0)]
    lower, upper = dict(found["with std/val/loss - std"]), dict(found["with std/val/loss + std"])
    assert lower == pytest.approx({10: 2.0, 20: 2 - stdev([1, 1, 4])})
    assert upper == pytest.approx({10: 4.0, 20: 2 + stdev([1, 1, 4])})
    assert scalars(tmp_path / "mean" / "optim.lr=0.2")["val/loss"] == [(10, 8.0)]


def test_layout_has_a_margin_chart_for_each_metric(tmp_path: Path) -> None:
    margins.save(make(tmp_path, {"seed=0": [4.0], "seed=1": [2.0]}))
    (path,) = (tmp_path / "mean").iterdir()  # not in a folder of a group: only the seed differs
    values = [value for event in EventFileLoader(str(path)).Load() for value in event.summary.value]
    (content,) = [value.tensor.string_val[0] for value in values if value.tag == "custom_scalars__config__"]
    ((chart,),) = [category.chart for category in Layout.FromString(content).category]
    (series,) = chart.margin.series
    tags = {value.tag for value in values}
    assert chart.title == series.value == "val/loss"
    assert {series.value, series.lower, series.upper} <= tags


def test_epochs_that_a_job_lacks_or_in_which_it_is_not_finite_are_left_out(tmp_path: Path) -> None:
    margins.save(make(tmp_path, {"seed=0": [4.0, float("nan"), 2.0, 1.0], "seed=1": [2.0, 2.0, 2.0]}))
    assert scalars(tmp_path / "mean")["val/loss"] == [(10, 3.0), (30, 2.0)]


def test_group_in_which_fewer_than_two_jobs_are_done_has_no_band(tmp_path: Path) -> None:
    table = make(tmp_path, {"seed=0": [4.0], "seed=1": [2.0], "seed=2": [3.0]}, "failed")
    margins.save(table)
    record(tmp_path / "seed=0", [4.0])
    margins.save(table)
    assert not (tmp_path / "mean").exists()
    record(tmp_path / "seed=1", [2.0])
    margins.save(table)
    assert scalars(tmp_path / "mean")["val/loss"] == [(10, 3.0)]


def test_file_is_replaced_and_equal_if_nothing_has_changed(tmp_path: Path) -> None:
    table = make(tmp_path, {"seed=0": [4.0], "seed=1": [2.0]})
    margins.save(table)
    before = events(tmp_path)
    margins.save(table)
    assert events(tmp_path) == before
    record(tmp_path / "seed=1", [6.0])
    margins.save(table)
    assert scalars(tmp_path / "mean")["val/loss"] == [(10, 5.0)]


@pytest.mark.parametrize("jobs", [{"optim.lr=0.1": [4.0], "optim.lr=0.2": [2.0]}, {"seed=0": [4.0], "seed=1": [2.0]}])
def test_sweep_without_repeats_or_without_tensorboard_has_no_charts(
    tmp_path: Path, jobs: dict[str, list[float]]
) -> None:
    margins.save(make(tmp_path, jobs, logger="none" if "seed=0" in jobs else "tensorboard"))
    assert not (tmp_path / "mean").exists()


def test_sweep_over_seeds_ends_with_charts_and_resuming_it_does_not_change_them(sweep: Callable[..., Path]) -> None:
    folder = sweep("seed=1,2", "trainer.max_steps=6")
    assert {"train/loss", "train/accuracy", "val/loss", "val/accuracy"} < scalars(folder / "mean").keys()
    before = events(folder)
    assert cli.main(["resume", str(folder)]) == 0
    assert events(folder) == before
