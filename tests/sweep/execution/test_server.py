import os
import signal
import subprocess
import sys
import time
from multiprocessing import forkserver

import pytest

from runner.config.compose import compose_config
from runner.sweep.execution import server


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-signal.SIGKILL, "killed by SIGKILL: kill -9, or out of memory"),
        (-signal.SIGSEGV, "killed by SIGSEGV: Segmentation fault"),
        (3, "exited with code 3"),
    ],
)
def test_exit_is_described_by_signal_or_code(code: int, words: str) -> None:
    assert server.describe_exit(code) == words


def test_check_returns_problems_by_job_number() -> None:
    configs = {3: compose_config(), 5: compose_config(["optim.lr=-1"]), 9: compose_config(["model.kernel_size=99"])}
    problems, gpus = server.check(configs)
    assert problems.keys() == {5, 9}
    assert problems[5] == ("optim.lr: found -1: Invalid learning rate: -1",)
    assert isinstance(gpus, list)


def test_exit_code_255_is_reported() -> None:
    process = server.start_process(os._exit, 255)
    process.join()
    assert process.exitcode == 255
    assert server.describe_exit(process.exitcode) == "exited with code 255"


def test_process_is_lost_with_its_server() -> None:
    process = server.start_process(time.sleep, 60)
    os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)  # type: ignore[attr-defined]
    process.join()
    assert process.exitcode == server.LOST
    assert server.describe_exit(process.exitcode).startswith("lost with the fork server")
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)


AFTER_FORK = """
import os, sys
from runner.sweep.execution.server import import_after_fork

import_after_fork(["wave"])
print("wave" in sys.modules)
if os.fork() == 0:
    if os.fork() == 0:
        os._exit(0)
    os.wait()
    os._exit("wave" in sys.modules)
print("wave" in sys.modules, os.wait()[1])
"""


def test_modules_are_imported_after_the_first_fork_only_in_the_process_that_asked_for_it() -> None:
    done = subprocess.run([sys.executable, "-c", AFTER_FORK], capture_output=True, text=True)
    assert (done.stdout.split(), done.stderr) == (["False", "True", "0"], "")
