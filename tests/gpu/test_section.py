import time
from pathlib import Path

import pytest

from gpu.section import Row, Section


def columns(value: int) -> Row:
    return {"value": value}


def differs() -> Row:
    return {"result": "failed: bits differ"}


def fail() -> Row:
    raise RuntimeError("no such operator\nmore")


def sleep() -> Row:
    time.sleep(60)
    return {}


def section(seconds: float = 60, rehearses: bool = True) -> Section:
    return Section("cpu", rehearses, time.monotonic() + seconds, Path("nowhere"))


def test_row_has_what_the_function_returns() -> None:
    assert section().attempt({"what": "a"}, columns, 3) == {"what": "a", "result": "ok", "value": 3}
    assert section().attempt({}, differs)["result"] == "failed: bits differ"


def test_failure_is_a_row(capfd: pytest.CaptureFixture[str]) -> None:
    row = section().attempt({"what": "a"}, fail)
    assert row["result"] == "failed: RuntimeError: no such operator"
    assert "Traceback" in row["trace"]
    assert section().attempt({}, fail, optional=True)["result"] == "left out: RuntimeError: no such operator"


def test_slow_function_fails() -> None:
    assert section().attempt({}, sleep, seconds=0.1)["result"] == "failed: not finished after 0 seconds"


def test_what_the_time_of_the_section_does_not_allow_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    assert section(seconds=1).attempt({}, columns, 3)["result"] == "skipped: the time of this section is over"
    monkeypatch.setattr("gpu.section.LEAST", 0.1)
    row = section(seconds=0.4).attempt({}, sleep)
    assert row["result"] == "skipped: 0 seconds of this section were left, and not enough"


def test_rehearsal_picks_the_small_value() -> None:
    assert [section(rehearses=value).pick("full", "small") for value in (True, False)] == ["small", "full"]
