from runner.tables import as_csv, columns, markdown_table, show, text_table


def test_columns_keep_their_order() -> None:
    assert columns([{"a": 1, "z": 2}, {"a": 1, "b": 2, "z": 3}, {"c": 1, "z": 1}]) == ["c", "a", "b", "z"]


def test_cells_are_short_for_a_person_and_whole_in_csv() -> None:
    row = {"value": 0.123456789, "none": None, "text": "a|b\nc"}
    assert show(row["value"]) == "0.1235"
    assert as_csv([row]).splitlines()[1].startswith("0.123456789,,")
    assert markdown_table([row]).splitlines()[2] == "| 0.1235 |  | a\\|b c |"
    assert text_table([{"a": 1, "bb": "x"}, {"a": 100, "bb": None}]) == ["a    bb", "1    x", "100"]
