"""Tables as text, Markdown and CSV, and groups of repeated runs.

A row is a mapping from column to value. The text tables are our own, because those of Rich cannot cut cells at the
beginning or leave out columns that do not fit.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from rich.cells import cell_len

REPEATS = ("seed", "dataset.seed", "dataset.fold")  # runs that differ only in these keys are repeats
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # characters that begin a formula in spreadsheets
LONGEST_CELL = 24  # characters


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run, to be grouped with those of other runs.

    Args:
        name: name of the run.
        keys: values of the config keys in which the runs differ.
        metrics: metrics by name; empty if the run is not done.
    """

    name: str
    keys: Mapping[str, Any]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Group:
    """Runs that repeat each other: they differ only in seed or fold.

    Args:
        keys: values that these runs share, of the config keys in which the compared runs differ.
        names: names of the runs.
        n: number of runs that are done.
        mean: mean of each metric.
        std: sample standard deviation of each metric (with divisor n - 1); None for a single value.
    """

    keys: Mapping[str, Any]
    names: Sequence[str]
    n: int
    mean: Mapping[str, float]
    std: Mapping[str, float | None]

    def row(self) -> dict[str, Any]:
        """Return a row with metrics as text: mean ± standard deviation."""
        row = {**self.keys, "n": self.n}
        for name, mean in self.mean.items():
            std = self.std[name]
            row[name] = show(mean) if std is None else f"{show(mean)} ± {show(std)}"
        return row


def group_repeats(outcomes: Iterable[Outcome]) -> list[Group]:
    """Group runs that differ only in seed or fold."""
    repeats: dict[str, list[Outcome]] = {}
    for each in outcomes:
        repeats.setdefault(json.dumps(_shared(each), sort_keys=True), []).append(each)
    groups = []
    for same in repeats.values():
        done = [each.metrics for each in same if each.metrics]
        names = list(dict.fromkeys(name for metrics in done for name in metrics))
        values = {name: [metrics[name] for metrics in done if name in metrics] for name in names}
        groups.append(
            Group(
                keys=_shared(same[0]),
                names=[each.name for each in same],
                n=len(done),
                mean={name: fmean(found) for name, found in values.items()},
                std={name: stdev(found) if len(found) > 1 else None for name, found in values.items()},
            )
        )
    return groups


def _shared(outcome: Outcome) -> dict[str, Any]:
    return {key: value for key, value in outcome.keys.items() if key not in REPEATS}


def without(row: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Return a row without some columns."""
    return {key: value for key, value in row.items() if key not in keys}


def columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the columns of all rows, as far as possible in the order in which each row has them."""
    names: list[str] = []
    for row in rows:
        place = 0
        for key in row:
            if key in names:
                place = names.index(key) + 1
            else:
                names.insert(place, key)
                place += 1
    return names


def show(value: Any) -> str:
    """Format a value for a table: floats with four significant digits, None as an empty cell."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def one_line(text: str) -> str:
    """Replace line breaks and terminal control codes by spaces."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as CSV with a header; an empty string if there are none."""
    if not rows:
        return ""
    names = columns(rows)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(map(inert, names))
    writer.writerows([inert(row.get(name)) for name in names] for row in rows)
    return buffer.getvalue()


def inert(value: Any) -> Any:
    """Return a value that no spreadsheet evaluates: text that looks like a formula is prefixed with an apostrophe."""
    if not isinstance(value, str) or not value.startswith(FORMULAS):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value  # a number, such as -1 or +1e3


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    names = columns(rows)
    cells = [[show(row.get(name)).replace("|", "\\|").replace("\n", " ") for name in names] for row in rows]
    lines = [names, ["---"] * len(names), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def text_table(rows: Sequence[Mapping[str, Any]], names: Sequence[str] | None = None) -> list[str]:
    """Return lines with aligned columns.

    Args:
        rows: rows of the table.
        names: columns to show; None for all.
    """
    names = columns(rows) if names is None else names
    return _aligned([list(names), *([one_line(show(row.get(name))) for name in names] for row in rows)])


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    padded = (
        [cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)] for line in lines
    )
    return ["  ".join(line).rstrip() for line in padded]


def fitted_table(rows: Sequence[Mapping[str, Any]], width: int) -> tuple[list[str], list[str]]:
    """Fit a table to a width, by cutting long cells and leaving out the last columns.

    The first column may take almost half of the width, the others up to 24 characters. Cells are cut at the beginning,
    because the names in a table usually differ at the end.

    Returns:
        Lines of at most `width` characters, and the names of the columns left out.
    """
    names = columns(rows)
    cells = [[name, *(one_line(show(row.get(name))) for row in rows)] for name in names]
    longest = [width * 9 // 20, *[LONGEST_CELL] * (len(names) - 1)]
    cells = [[cut(cell, most) for cell in column] for column, most in zip(cells, longest, strict=True)]
    fitting, room = 0, width + 2
    for column in cells:
        room -= max(map(cell_len, column)) + 2
        if room < 0:
            break
        fitting += 1
    return _aligned(list(zip(*cells[:fitting], strict=True))), names[fitting:]


def cut(text: str, longest: int) -> str:
    """Return a text, or its end after an ellipsis if it is wider than `longest` columns of a terminal."""
    if cell_len(text) <= longest:
        return text
    end = text[max(0, len(text) - longest + 1) :]
    while cell_len(end) >= longest and end:  # Chinese characters take two columns
        end = end[1:]
    return "…" + end
