import csv
import io

import pytest

from runner.runs.tables import as_csv, columns, cut, fitted_table, markdown_table, show, text_table


def test_columns_keep_the_order_of_the_rows() -> None:
    assert columns([{"a": 1, "z": 2}, {"a": 1, "b": 2, "z": 3}, {"c": 1, "z": 1}]) == ["c", "a", "b", "z"]


def test_cells_are_rounded_in_text_and_complete_in_csv() -> None:
    row = {"value": 0.123456789, "none": None, "text": "a|b\nc"}
    assert show(row["value"]) == "0.1235"
    assert as_csv([row]).splitlines()[1].startswith("0.123456789,,")
    assert markdown_table([row]).splitlines()[2] == "| 0.1235 |  | a\\|b c |"
    assert text_table([{"a": 1, "bb": "x"}, {"a": 100, "bb": None}]) == ["a    bb", "1    x", "100"]


@pytest.mark.parametrize("text", ["=1+1", "+HYPERLINK(1)", "-cmd", "@SUM(1)", "\t=1", "-", "+x=1"])
def test_csv_contains_no_formulas(text: str) -> None:
    head, row = csv.reader(io.StringIO(as_csv([{text: text}]), newline=""))
    assert head == row == [f"'{text}"]


@pytest.mark.parametrize("value", ["-1", "+1e3", -0.5, None, [-1], "1-1", "a=b"])
def test_csv_keeps_numbers_and_other_text(value: object) -> None:
    assert list(csv.reader(io.StringIO(as_csv([{"a": 1, "b": value}]))))[1][1] == ("" if value is None else str(value))


def test_csv_without_rows_is_empty() -> None:
    assert as_csv([]) == ""


def test_wide_characters_take_two_columns() -> None:
    assert text_table([{"name": "数据", "b": 1}, {"name": "data", "b": 2}]) == ["name  b", "数据  1", "data  2"]
    assert [cut("文" * 10, width) for width in (20, 19, 18)] == ["文" * 10, "…" + "文" * 9, "…" + "文" * 8]


def test_table_fits_a_width() -> None:
    rows = [
        {"run": f"a/very/long/path/{n}", "loss": 0.5, "text": "x" * 99, "more": 1, "last": "a\x1b\nb"} for n in (1, 2)
    ]
    lines, left_out = fitted_table(rows, 50)
    assert lines[1] == "a/very/long/path/1  0.5   …" + "x" * 23
    assert left_out == ["more", "last"]
    lines, left_out = fitted_table(rows, 90)
    assert lines[1].endswith("x  1     a b")
    assert left_out == []
    assert fitted_table(rows, 30)[0][1] == "…/long/path/1  0.5"
    assert cut("abcdef", 4) == "…def"
