"""Rows of a table, each a mapping of columns to values, as text, Markdown and CSV; and repeats of a run together."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

REPEATS = ("seed", "dataset.seed", "dataset.fold")  # runs that differ only in these are repeats of one another

FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the beginning of a formula
LONGEST_CELL = 24


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Args:
        name: of the run.
        keys: what distinguishes it from the others: config keys and their values.
        metrics: by name; none for a run that is not done.
    """

    name: str
    keys: Mapping[str, Any]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Group:
    """Repeats of the same run: what they share, how many are done, and of each metric mean and standard deviation.

    The deviation is that of a sample (n - 1); None for one alone.
    """

    keys: Mapping[str, Any]
    names: Sequence[str]
    n: int
    mean: Mapping[str, float]
    std: Mapping[str, float | None]

    def row(self) -> dict[str, Any]:
        """As text: mean ± standard deviation."""
        row = {**self.keys, "n": self.n}
        for name, mean in self.mean.items():
            std = self.std[name]
            row[name] = show(mean) if std is None else f"{show(mean)} ± {show(std)}"
        return row


def group_repeats(outcomes: Iterable[Outcome]) -> list[Group]:
    """Runs that differ only in seed or fold, together."""
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
    return {key: value for key, value in row.items() if key not in keys}


def columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """All keys, in the order of their first appearance; what comes last in a row comes last here too."""
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
    """A cell, for a person."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def one_line(text: str) -> str:
    """Return a text as a part of a line: without ends of lines, and without codes that a terminal would obey."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as CSV below a line with their columns; nothing for no rows."""
    if not rows:
        return ""
    names = columns(rows)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(map(inert, names))
    writer.writerows([inert(row.get(name)) for name in names] for row in rows)
    return buffer.getvalue()


def inert(value: Any) -> Any:
    """Return a cell that no spreadsheet runs as a formula: behind an apostrophe where it begins like one."""
    if not isinstance(value, str) or not value.startswith(FORMULAS):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value  # -1, or +1e3


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    names = columns(rows)
    cells = [[show(row.get(name)).replace("|", "\\|").replace("\n", " ") for name in names] for row in rows]
    lines = [names, ["---"] * len(names), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def text_table(rows: Sequence[Mapping[str, Any]], names: Sequence[str] | None = None) -> list[str]:
    """Return lines with aligned columns: all, or those of these names."""
    names = columns(rows) if names is None else names
    return _aligned([list(names), *([one_line(show(row.get(name))) for name in names] for row in rows)])


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def fitted_table(rows: Sequence[Mapping[str, Any]], width: int) -> tuple[list[str], list[str]]:
    """Return lines of at most `width` characters, and the columns for which there was no room.

    The first column may take almost half of the width, others 24 characters; longer cells are cut at their beginning,
    which is what names in one table usually share. Columns are left out from the end.
    """
    names = columns(rows)
    cells = [[name, *(one_line(show(row.get(name))) for row in rows)] for name in names]
    longest = [width * 9 // 20, *[LONGEST_CELL] * (len(names) - 1)]
    cells = [[cut(cell, most) for cell in column] for column, most in zip(cells, longest, strict=True)]
    taken, room = 0, width + 2
    for column in cells:
        room -= max(map(len, column)) + 2
        if room < 0:
            break
        taken += 1
    return _aligned(list(zip(*cells[:taken], strict=True))), names[taken:]


def cut(text: str, longest: int) -> str:
    """Return the end of a text that is too long."""
    return text if len(text) <= longest else "…" + text[len(text) - longest + 1 :]
