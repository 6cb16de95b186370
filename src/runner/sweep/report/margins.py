"""Charts for TensorBoard of repeated jobs: the mean over seeds or folds, with a band around it.

TensorBoard colors the curves of a chart by run. Therefore each group of repeats is a run of its own, an event file in
the folder `mean/` of the sweep. The tab "Custom Scalars" shows all of them with their bands.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from runner.machine.files import one_at_a_time, sync_folder, write_atomically
from runner.runs.tables import show
from runner.sweep.jobs import FILE, folder_name
from runner.sweep.report.table import Table
from runner.tracking.metrics_csv import number, read_rows
from runner.tracking.results import DONE

FOLDER = "mean"
EVENTS = "events.out.tfevents.0000000000.mean"  # TensorBoard reads every file with "tfevents" in its name
TITLE = "mean ± standard deviation of runs that differ only in seed or fold"
NOT_DRAWN = ("epoch", "step", "lr", "seconds")  # columns of metrics.csv


@dataclass(frozen=True)
class Band:
    """A metric of a group over training: the mean over its jobs, and one standard deviation below and above it.

    Args:
        metric: column of metrics.csv, and the tag of the mean: TensorBoard draws it beside the curves of the jobs.
        points: for each step the mean, and the sample standard deviation (with divisor n - 1).
    """

    metric: str
    points: Mapping[int, tuple[float, float]]

    @property
    def lower(self) -> str:
        """The tag of the lower edge, in the last section of TensorBoard's other tabs."""
        return f"with std/{self.metric} - std"

    @property
    def upper(self) -> str:
        """The tag of the upper edge."""
        return f"with std/{self.metric} + std"

    def lines(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Return the values by tag, for each step."""
        for step, (mean, std) in self.points.items():
            yield step, {self.metric: mean, self.lower: mean - std, self.upper: mean + std}


def save(table: Table) -> None:
    """Write an event file for each group in which at least two jobs are done, or replace it.

    Raises:
        OSError: a file cannot be written.
    """
    if table.sweep.jobs[0].config.logger.name != "tensorboard" or not table.has_repeats:
        return
    with one_at_a_time(table.sweep.folder / FILE):
        for name, jobs in repeats(table).items():
            if found := bands([read_rows(folder) for folder in jobs]):
                write_events(table.sweep.folder / FOLDER / name, as_events(found, last_end(table)))


def repeats(table: Table) -> dict[str, list[Path]]:
    """Return the run folders of each group in which at least two jobs are done, by the name of the group.

    The name is empty if the jobs differ in nothing but seed or fold.
    """
    paths = {job.folder: table.sweep.path(job) for job in table.sweep.jobs if table.status(job) in DONE}
    found: dict[str, list[Path]] = {}
    for group in table.groups():
        # TensorBoard's charts are empty if the name of a run contains a parenthesis; `folder_name` leaves none.
        keys = [f"{key}={'null' if value is None else show(value)}" for key, value in group.keys.items()]
        found[folder_name(keys, list(found)) if keys else ""] = [paths[name] for name in group.names if name in paths]
    return {name: done for name, done in found.items() if len(done) > 1}


def last_end(table: Table) -> float:
    """Return when the last job ended, in seconds since the epoch: the same after a resume that changes nothing."""
    ends = [table.results(job).get("finished") for job in table.sweep.jobs]
    return max((datetime.fromisoformat(end).timestamp() for end in ends if end), default=0.0)


def bands(tables: Sequence[Sequence[Mapping[str, str]]]) -> list[Band]:
    """Return the bands of a group.

    Only epochs that all jobs have recorded count; otherwise the end of a curve would be the mean of fewer jobs. The
    step is that of the first job, because folds may differ in size.

    Args:
        tables: rows of each job's metrics.csv.
    """
    found = []
    for metric in [name for name in tables[0][0] if name not in NOT_DRAWN] if all(tables) else []:
        points = {}
        for rows in zip(*tables, strict=False):  # an epoch of all jobs
            cells = [number(row.get(metric)) for row in rows]
            values = [value for value in cells if value is not None]
            if len(values) == len(cells):
                points[int(rows[0]["step"])] = (fmean(values), stdev(values))
        if points:
            found.append(Band(metric, points))
    return found


def write_events(folder: Path, contents: bytes) -> None:
    """Write an event file, or replace it atomically: TensorBoard would show the points of a second file as well."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / ".part"  # TensorBoard would also read a temporary file with "tfevents" in its name
    write_atomically(part, contents)
    part.replace(folder / EVENTS)
    sync_folder(folder)


def as_events(found: Sequence[Band], when: float) -> bytes:
    """Return the contents of an event file with the bands and the layout of their charts.

    Args:
        found: the bands.
        when: time of the events, in seconds since the epoch.
    """
    from tensorboard.compat.proto.event_pb2 import Event  # takes a while, and most sweeps need none
    from tensorboard.compat.proto.summary_pb2 import Summary

    from runner.tracking.record_file import write_record

    file = io.BytesIO()
    events: list[Any] = [Event(file_version="brain.Event:2"), Event(summary=Summary(value=[layout(found)]))]
    for band in found:
        for step, values in band.lines():
            lines = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
            events.append(Event(step=step, summary=Summary(value=lines)))
    for event in events:
        event.wall_time = when
        write_record(file, event.SerializeToString())
    return file.getvalue()


def layout(found: Sequence[Band]) -> Any:
    """Return the summary that describes a chart for each metric. TensorBoard merges those of all groups."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DataType
    from tensorboard.plugins.custom_scalar.layout_pb2 import Category, Chart, Layout, MarginChartContent
    from tensorboard.plugins.custom_scalar.metadata import CONFIG_SUMMARY_TAG, create_summary_metadata

    charts = []
    for band in found:
        series = MarginChartContent.Series(value=band.metric, lower=band.lower, upper=band.upper)
        charts.append(Chart(title=band.metric, margin=MarginChartContent(series=[series])))
    content = Layout(category=[Category(title=TITLE, chart=charts)]).SerializeToString()
    tensor = TensorProto(dtype=DataType.DT_STRING, string_val=[content])
    return Summary.Value(tag=CONFIG_SUMMARY_TAG, metadata=create_summary_metadata(), tensor=tensor)
