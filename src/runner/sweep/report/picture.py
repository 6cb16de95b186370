"""The picture of a sweep, sweep.png: the metric against the swept keys."""

import io
import itertools
import math
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from runner.errors import RunnerError
from runner.machine.files import one_at_a_time, write_atomically
from runner.runs.tables import Group, show
from runner.sweep.execution import server
from runner.sweep.jobs import FILE
from runner.sweep.report.table import Table

SHARE = 0.1  # largest share of the time to spend on drawing while jobs run
FIRST = 3.0  # seconds until the first drawing
PATIENCE = 60.0  # seconds to wait for a picture to be drawn
MOST_TICKS = 8  # values of a key that are all labelled on the axis


def start_drawing(table: Table, target: Path) -> BaseProcess:
    """Start a process that draws the picture. It is forked from the server, which has imported matplotlib.

    Raises:
        OSError: the process cannot be started.
    """
    return server.start_process(draw, table, target)


class Picture:
    """The picture in the sweep folder. It is redrawn after jobs, in at most about `SHARE` of the time.

    Args:
        table: results to draw.
        start: starts a process that draws a table to a file.
    """

    def __init__(self, table: Table, start: Callable[[Table, Path], BaseProcess] = start_drawing) -> None:
        self.table, self.start = table, start
        self.target = table.sweep.folder / "sweep.png"
        self._drawing: BaseProcess | None = None
        self._begun = time.time()  # when the last drawing began; at first, when the sweep did
        self._rest = FIRST  # seconds from then until the next one may begin

    def save(self) -> None:
        """Start drawing the picture, unless a drawing is still running or the last one is too recent.

        Raises:
            RunnerError: the last drawing failed.
            OSError: the drawing cannot be started.
        """
        if self._drawing is not None and not self._drawing.is_alive():
            process, self._drawing = self._drawing, None
            self._check(process)
            drawn = min(max(self.target.stat().st_mtime, self._begun), time.time())  # a file server's clock may differ
            self._rest = (drawn - self._begun) / SHARE
        if self._drawing is None and time.time() - self._begun >= self._rest:
            self._begun = time.time()
            self._drawing = self.start(self.table, self.target)

    def finish(self) -> None:
        """Draw the final picture and wait for it.

        Raises:
            RunnerError: the drawing failed, or took too long.
            OSError: the drawing cannot be started.
        """
        if self._drawing is not None:
            self._drawing.join(PATIENCE)
        process = self.start(self.table, self.target)
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
        self._check(process)

    def _check(self, process: BaseProcess) -> None:
        """Raise RunnerError if a drawing process failed."""
        process.join()
        if process.exitcode:
            raise RunnerError(f"{self.target}: the drawing process failed: {server.describe_exit(process.exitcode)}")


def draw(table: Table, target: Path) -> None:
    """Draw the best metric against the values of the swept key; for two keys as a heat map, for more in a panel each.

    Args:
        table: results to draw.
        target: PNG file to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes a quarter of a second to import
    from matplotlib.figure import Figure

    name = f"best {table.metric}"
    groups = table.groups()
    if not any(group.keys for group in groups):  # the jobs are only repeats: show each one by itself
        groups = [Group({"job": j.folder}, [j.folder], 1, table.metrics(j), {name: None}) for j in table.sweep.jobs]
    keys = list(dict.fromkeys(key for group in groups for key in group.keys))
    groups = [group for group in groups if name in group.mean]
    panels = len(keys) if len(keys) > 2 else 1
    figure = Figure(figsize=(2 + 4.5 * panels, 4.5), layout="constrained")
    if len(keys) == 2 and groups:
        heat_map(figure.subplots(), groups, keys[0], keys[1], name)
    else:
        for axes, key in zip(figure.subplots(1, panels, squeeze=False)[0], keys, strict=False):
            against(axes, groups, key, name)
    counts = ", ".join(f"{n} {status}" for status, n in table.counts().items())
    figure.suptitle(plain(f"{table.sweep.folder.name}: {counts}"), fontsize=10)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    with one_at_a_time(table.sweep.folder / FILE):
        write_atomically(target, buffer.getvalue())


def plain(value: Any) -> str:
    """Return a value as text that matplotlib does not read as a formula."""
    return ("null" if value is None else show(value)).replace("$", r"\$")


def choices(groups: Sequence[Group], key: str) -> list[Any]:
    """Return the values of a key: sorted if all are numbers, otherwise in order of appearance."""
    found = list({str(group.keys[key]): group.keys[key] for group in groups if key in group.keys}.values())
    return sorted(found) if all(is_number(value) for value in found) else found


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_logarithmic(values: Sequence[Any]) -> bool:
    """Return whether the values are positive and span a factor of ten or more, which calls for a logarithmic axis."""
    return len(values) > 1 and min(values) > 0 and max(values) / min(values) >= 10


def can_be_labelled(values: Sequence[float]) -> bool:
    """Return whether the labels of sorted values on an axis do not overlap."""
    places = [math.log(value) for value in values] if is_logarithmic(values) else values
    gaps = [after - before for before, after in itertools.pairwise(places)]
    return len(values) <= MOST_TICKS and all(gap > 0.08 * (places[-1] - places[0]) for gap in gaps)


def label_values(axes: Any, values: Sequence[Any]) -> None:
    """Label the values of a key on the horizontal axis instead of round numbers between them."""
    axes.set_xticks([], minor=True)
    axes.set_xticks(values, [plain(value) for value in values])


def is_wide(means: Sequence[float]) -> bool:
    """Return whether values of a metric call for a logarithmic scale."""
    return bool(means) and min(means) > 0 and max(means) > 20 * min(means)


def label_decades(axis: Any, values: Sequence[float]) -> None:
    """Label the numbers 1, 2, 5, 10, ... between the values, or only powers of ten, on a logarithmic axis."""
    decades = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
    digits = (1, 2, 5) if len(decades) <= 4 else (1,)
    ticks = [float(f"{digit}e{decade}") for decade in decades for digit in digits]
    inside = [tick for tick in ticks if min(values) <= tick <= max(values)]
    axis.set_ticks([], minor=True)
    axis.set_ticks(inside, [f"{tick:g}" for tick in inside])


def is_mean(groups: Sequence[Group], name: str) -> bool:
    """Return whether a metric is the mean over repeats."""
    return any(group.std[name] is not None for group in groups)


def against(axes: Any, groups: Sequence[Group], key: str, name: str) -> None:
    """Plot the metric against one key, with the standard deviation over repeats as error bars."""
    values = choices(groups, key)
    numbers = bool(values) and all(map(is_number, values))
    labelled = numbers and can_be_labelled(values)
    numeric = labelled or (numbers and (is_logarithmic(values) or len(values) > MOST_TICKS))  # others, evenly spaced
    shown = [group for group in groups if key in group.keys]
    places = [group.keys[key] if numeric else values.index(group.keys[key]) for group in shown]
    means = [group.mean[name] for group in shown]
    line = "-" if numbers and len({str(place) for place in places}) == len(places) else ""
    points = sorted(zip(places, means, [group.std[name] or math.nan for group in shown], strict=True))
    if points:
        axes.errorbar(*zip(*points, strict=True), fmt="o" + line, capsize=3, alpha=1 if line else 0.6)
    if numeric and is_logarithmic(values):
        axes.set_xscale("log")
    if labelled:
        label_values(axes, values)
    elif not numeric:
        axes.set_xticks(range(len(values)), [plain(value) for value in values], rotation=30 if len(values) > 4 else 0)
        axes.set_xlim(-0.5, max(len(values), 1) - 0.5)
    axes.set(xlabel=plain(key), ylabel=f"{name}, mean ± standard deviation" if is_mean(shown, name) else name)
    if is_wide(means):
        axes.set_yscale("log")
        label_decades(axes.yaxis, means)
    axes.grid(alpha=0.3)


def heat_map(axes: Any, groups: Sequence[Group], across: str, down: str, name: str) -> None:
    """Show the metric for each pair of values, as a color and a number."""
    columns, rows = choices(groups, across), choices(groups, down)
    cells = [[math.nan] * len(columns) for _ in rows]
    for group in groups:
        if across in group.keys and down in group.keys:
            cells[rows.index(group.keys[down])][columns.index(group.keys[across])] = group.mean[name]
    found = [value for line in cells for value in line if not math.isnan(value)]
    image = axes.imshow(cells, cmap="viridis", aspect="auto", norm="log" if is_wide(found) else None)
    for row, values in enumerate(cells):
        for column, value in enumerate(values):
            if not math.isnan(value):
                red, green, blue, _ = image.cmap(image.norm(value))
                dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.5
                axes.text(column, row, show(value), ha="center", va="center", color="white" if dark else "black")
    axes.set_xticks(range(len(columns)), [plain(value) for value in columns])
    axes.set_yticks(range(len(rows)), [plain(value) for value in rows])
    axes.set(xlabel=plain(across), ylabel=plain(down))
    bar = axes.figure.colorbar(image, label=f"{name}, mean" if is_mean(groups, name) else name)
    if is_wide(found):
        label_decades(bar.ax.yaxis, found)
