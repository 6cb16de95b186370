import logging
import warnings
from pathlib import Path

import pytest

from runner.tracking.console import console, log, logging_to, pack, relative


def test_messages_are_printed_and_written_to_the_file_with_times(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with logging_to(tmp_path / "run.log"):
        log.info("epoch %d of [bold]%s[/bold]", 1, "größe")
        log.warning("watch out")
        log.debug("not this")
    assert capsys.readouterr().out == "epoch 1 of [bold]größe[/bold]\nwarning: watch out\n"
    first, second = (tmp_path / "run.log").read_text(encoding="utf-8").splitlines()
    assert first.endswith(" INFO epoch 1 of [bold]größe[/bold]")
    assert second.endswith(" WARNING watch out")
    assert first[:2] == "20"


def test_long_lines_are_not_wrapped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to(tmp_path / "run.log"):
        log.info("word " * 100)
    assert capsys.readouterr().out == "word " * 100 + "\n"


def test_parts_are_wrapped_into_lines() -> None:
    parts = [f"{number} 1.00" for number in range(10)]
    first, second = pack("recall   ", parts)
    assert (len(first) <= 80, second) == (True, "         9 1.00")
    assert pack("recall   ", parts[:1]) == ["recall   0 1.00"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            "epoch   1  loss 0.12 (val 0.15)  mae 0.1  2.5 s",
            "epoch   1  loss 0.12 (val 0.15)\n           mae 0.1  2.5 s",
        ),
        (f"resume   python -m runner resume {'x' * 40}", f"resume   python -m runner resume {'x' * 40}"),
    ],
)
def test_line_on_a_terminal_is_wrapped_between_its_parts_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: str, shown: str
) -> None:
    monkeypatch.setattr(console, "_force_terminal", True)
    monkeypatch.setattr(console, "width", 39)
    with logging_to(tmp_path / "run.log"):
        log.info(line)
    assert capsys.readouterr().out == f"{shown}\n"
    assert line in (tmp_path / "run.log").read_text()


def test_traceback_is_written_to_the_file_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to(tmp_path / "run.log"):
        try:
            _ = 1 / 0
        except ZeroDivisionError as error:
            log.error("it failed: %s", error, exc_info=error)
    assert capsys.readouterr().out == "error: it failed: division by zero\n"
    assert "Traceback (most recent call last):" in (tmp_path / "run.log").read_text()


def test_file_is_appended_to(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with logging_to(tmp_path / "run.log"):
            log.info(text)
    assert [line.split()[-1] for line in (tmp_path / "run.log").read_text().splitlines()] == ["first", "second"]


def test_python_warnings_are_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with logging_to(tmp_path / "run.log"):
            warnings.warn("this is odd", stacklevel=1)
    assert "WARNING" in (tmp_path / "run.log").read_text()
    assert "UserWarning: this is odd" in (tmp_path / "run.log").read_text()
    assert "UserWarning: this is odd" in capsys.readouterr().out


def test_logging_is_restored(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log, "propagate", True)
    monkeypatch.setattr(log, "level", logging.ERROR)
    before = log.level, log.propagate, list(log.handlers), warnings.showwarning
    with pytest.raises(ZeroDivisionError), logging_to(tmp_path / "run.log"):
        _ = 1 / 0
    assert (log.level, log.propagate, list(log.handlers), warnings.showwarning) == before
    assert logging.getLogger("py.warnings").handlers == []
    log.error("after the run")
    assert capsys.readouterr().out == ""
    assert "after the run" in caplog.text
    assert (tmp_path / "run.log").read_text() == ""


def test_unwritable_file_is_reported_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with logging_to(Path("/dev/full")):
        log.info("first")
        log.info("second")
    captured = capsys.readouterr()
    assert captured.out == "warning: /dev/full: cannot be written: No space left on device\nfirst\nsecond\n"
    assert captured.err == ""


def test_path_that_cannot_be_decoded_is_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.tracking.console.ConsoleHandler.emit", lambda self, record: None)
    with logging_to(tmp_path / "run.log"):
        log.info("folder %s", b"gr\xc3\xb6sse".decode("ascii", "surrogateescape"))
    assert capsys.readouterr().err == ""
    assert "folder gr\\udcc3\\udcb6sse" in (tmp_path / "run.log").read_text()


def test_lines_of_a_message_are_aligned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to(tmp_path / "run.log"):
        log.error("first\nsecond")
    assert capsys.readouterr().out == "error: first\n       second\n"


def test_paths_below_the_current_directory_are_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert relative(tmp_path / "here" / "outputs" / "run") == Path("outputs/run")
    assert relative(tmp_path / "elsewhere") == tmp_path / "elsewhere"
    (tmp_path / "here").rmdir()
    assert relative(tmp_path / "here" / "outputs") == tmp_path / "here" / "outputs"
