import operator
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from gpu.isolate import Failed, TookTooLong, call


def fail() -> None:
    raise ValueError("first line\nsecond line")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang(folder: Path) -> None:
    started = subprocess.Popen(["sleep", "60"])
    (folder / "child").write_text(str(started.pid))
    time.sleep(60)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_result_comes_from_another_process(method: str) -> None:
    assert call(operator.add, 40, 2, seconds=30, method=method) == 42
    assert call(os.getpid, seconds=30, method=method) != os.getpid()


def test_error_is_reported_in_one_line_with_its_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Failed, match=r"^ValueError: first line$") as caught:
        call(fail, seconds=30)
    assert 'raise ValueError("first line' in caught.value.trace
    assert "ValueError: first line" in capfd.readouterr().err  # for those who watch


@pytest.mark.parametrize(
    ("function", "arguments", "how"), [(die, (), "SIGKILL"), (os._exit, (3,), "exit code 3")], ids=["signal", "exit"]
)
def test_death_of_the_process_is_reported(function: Any, arguments: tuple[Any, ...], how: str) -> None:
    with pytest.raises(Failed, match=f"the process died: {how}"):
        call(function, *arguments, seconds=30)


def test_hanging_process_is_killed_with_all_that_it_has_started(tmp_path: Path) -> None:
    with pytest.raises(TookTooLong, match="not finished after 0 seconds"):
        call(hang, tmp_path, seconds=0.3)
    child = int((tmp_path / "child").read_text())
    stat = Path(f"/proc/{child}/stat")
    for _ in range(100):
        if not stat.exists() or stat.read_text().rpartition(") ")[2][0] == "Z":  # a zombie is dead, too
            return
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the process that it had started is alive")
