"""Read CSV files, for training and for predictions."""

import csv
import math
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from runner.errors import DataError

NAMED = 8  # maximum number of names in a message


class NotANumber(DataError):
    """A cell is not a number; the message names the file, the line and the column."""

    def __init__(self, path: Path, line: int, column: str, cell: str) -> None:
        self.column = column
        super().__init__(f"{path}: line {line}, column {column!r}: found {cell!r}, expected a number")


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the stripped cells of each row; blank rows are skipped.

    Raises:
        DataError: the file cannot be read, is empty, or has rows of different lengths; the message names it.
    """
    length = None
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets write a byte order mark
            reader = csv.reader(file, strict=True)
            for row in reader:
                cells = [cell.strip() for cell in row]
                if not any(cells):
                    continue
                length = length or len(cells)
                if len(cells) != length:
                    raise DataError(f"{path}: line {reader.line_num}: {len(cells)} cells, expected {length}")
                yield reader.line_num, cells
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if length is None:
        raise DataError(f"{path}: is empty")


def read_table(
    path: Path, size: int, columns: Sequence[str] = (), left_out: Sequence[str] = ()
) -> Iterator[tuple[int, list[float]]]:
    """Yield the line number and the inputs of each row, in the column order of the training data.

    With a header, columns are matched by name and may have any order. Without one, they are matched by position.

    Args:
        path: CSV file to read.
        size: number of values in an input.
        columns: column names of the training inputs; empty if they have none.
        left_out: names of further columns, such as the target, which are ignored.

    Raises:
        DataError: the file cannot be read, a column is missing or unknown, a cell is not a number, or a row has the
            wrong number of values.
    """
    rows = read_rows(path)
    first = next(rows)
    places, names = match_header(path, first, columns, left_out), first[1]
    if places is None:
        places = list(range(len(names)))
        rows, names = chain([first], rows), [str(place + 1) for place in places]
    if len(places) != size:
        raise DataError(f"{path}: found {len(places)} values per row, expected {size}{_named(': ', columns)}")
    for line, cells in rows:
        yield line, [to_number(cells[place], path, line, names[place]) for place in places]


def match_header(
    path: Path, first: tuple[int, list[str]], columns: Sequence[str], left_out: Sequence[str]
) -> list[int] | None:
    """Return the position of each input column; None if the first row contains numbers instead of names.

    Args:
        path: file, for messages.
        first: line number and cells of the first row.
        columns: column names of the training inputs; empty if they have none.
        left_out: names of further columns, which are ignored.

    Raises:
        DataError: the first row contains neither; the message lists the missing and the unknown names.
    """
    line, cells = first
    missing = [name for name in columns if name not in cells]
    unknown = [name for name in cells if name not in {*columns, *left_out}]
    if columns and not missing and not unknown:
        names = distinct(cells, path)
        return [names.index(name) for name in columns]
    if all(map(is_number, cells)):
        return None
    if not columns and all(map(_is_name, cells)):
        return list(range(len(cells)))
    problem = f"{path}: line {line}: contains neither numbers nor the names of the columns"
    if not columns:
        raise DataError(f"{problem}: found {', '.join(cells[:NAMED])}")
    raise DataError(
        problem + _named("; unknown: ", unknown) + _named("; missing: ", missing) + _named("; expected: ", columns)
    )


def distinct(names: list[str], path: Path) -> list[str]:
    """Return the column names if they are distinct.

    Raises:
        DataError: two columns have the same name.
    """
    if len(set(names)) < len(names):
        raise DataError(f"{path}: two columns have the same name in {', '.join(names)}")
    return names


def to_number(cell: str, path: Path, line: int, column: str) -> float:
    """Return the number in a cell.

    Raises:
        NotANumber: the cell does not contain a finite number.
    """
    if not is_number(cell):
        raise NotANumber(path, line, column, cell)
    return float(cell)


def is_number(cell: str) -> bool:
    """Return whether a cell contains a finite number."""
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _is_name(cell: str) -> bool:
    """Return whether a cell is a name, rather than nan or a mistyped number such as 0,5."""
    try:
        float(cell)
    except ValueError:
        return cell[:1].isalpha() or cell[:1] == "_"
    return False


def _named(start: str, names: Sequence[str]) -> str:
    """Return `start` followed by the first names; "" if there are none."""
    if not names:
        return ""
    return start + ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
