import subprocess
import sys

import pytest

from runner.__main__ import start_ahead
from runner.sweep.execution import server


def test_unsupported_platform_is_rejected() -> None:
    code = "import sys; sys.platform = 'win32'; from runner.__main__ import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: runner needs Linux or macOS; on Windows run it in WSL\n")


@pytest.mark.parametrize(
    ("arguments", "starts"),
    [
        (["-m", "optim.lr=1,2"], True),
        (["optim.lr=1,2", "--multirun", "--config-dir=conf", "--json"], True),
        (["optim.lr=1"], False),
        (["-m", "--cfg", "job"], False),
        (["-m", "--help"], False),
        (["resume", "outputs"], False),
    ],
)
def test_server_is_started_ahead_only_for_sweeps(
    arguments: list[str], starts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[bool] = []
    monkeypatch.setattr(server, "start", lambda: started.append(True))
    start_ahead(arguments)
    assert started == [True] * starts


def test_server_that_cannot_be_started_ahead_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError

    monkeypatch.setattr(server, "start", fail)
    start_ahead(["-m"])
