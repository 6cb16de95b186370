import json
from pathlib import Path

from gpu.report import Part, Report, cell, table
from gpu.section import Row

GOOD = Part("sync", "waits for nothing", 12.4, [{"with": "ema", "result": "ok", "steps": 27, "trace": "long"}])
BAD = Part("kill", "bit for bit", 3, [{"run": "a", "result": "ok"}, {"run": "b", "result": "failed: differs: last.pt"}])


def test_report_is_written_as_markdown_and_json(tmp_path: Path) -> None:
    Report({"GPU": "NVIDIA H200"}, [GOOD, BAD]).write(tmp_path / "gpu")
    text = (tmp_path / "gpu" / "report.md").read_text()
    assert "| GPU | NVIDIA H200 |" in text
    assert "**Not all passed.**" in text
    assert "| sync: waits for nothing | 12 | passed (1 ok) |" in text
    assert "| kill: bit for bit | 3 | FAILED (1 ok, 1 failed) |" in text
    assert "## sync: waits for nothing\n\n| with | steps | result |\n| --- | --- | --- |\n| ema | 27 | ok |\n" in text
    data = json.loads((tmp_path / "gpu" / "report.json").read_text())
    assert data["passed"] is False
    assert data["machine"] == {"GPU": "NVIDIA H200"}
    assert data["parts"][0]["rows"][0]["trace"] == "long"
    assert sorted(path.name for path in (tmp_path / "gpu").iterdir()) == ["report.json", "report.md"]


def test_verdicts_in_words() -> None:
    assert GOOD.verdict == "passed (1 ok)"
    assert Part("a", "", rows=[{"result": "skipped: late"}]).verdict == "SKIPPED (1 skipped)"
    assert Part("a", "").verdict == "FAILED (nothing was done)"
    ended = Part("a", "", rows=GOOD.rows, error="OSError: full")
    assert ended.verdict == "FAILED, ended by OSError: full (1 ok before)"
    mixed = Part("a", "", rows=[{"result": "ok"}, {"result": "skipped: late"}, {"result": "left out: no compiler"}])
    assert mixed.verdict == "passed (1 ok, 1 skipped, 1 left out)"


def test_report_passes_if_all_sections_do() -> None:
    assert Report({}, [GOOD]).passed
    assert not Report({}, [GOOD, BAD]).passed
    assert not Report({}, []).passed
    assert not Report({}, [GOOD, Part("a", "", rows=[{"result": "skipped: late"}])]).passed


def test_rehearsal_is_named() -> None:
    assert Report({}, [GOOD], rehearses=True).markdown().startswith("# A rehearsal on the CPU")


def test_table_has_all_columns_and_the_result_last() -> None:
    rows: list[Row] = [{"a": 1, "result": "ok"}, {"b": None, "result": "failed: x|y\nz"}]
    assert table(rows).splitlines()[2:] == ["| 1 |  | ok |", "|  |  | failed: x\\|y z |"]
    assert table([]) == ""


def test_numbers_have_three_digits() -> None:
    assert [cell(value) for value in (1234567.0, 0.012345, 99.96, 12345, True, "a")] == [
        *("1,234,567", "0.0123", "100", "12,345", "True", "a"),
    ]
