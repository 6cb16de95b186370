import os
import signal
import time
from multiprocessing import forkserver

import pytest

from runner.config.compose import compose_config
from runner.sweep import server


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-signal.SIGKILL, "killed by SIGKILL: someone's kill -9, or the system because memory ran out"),
        (-signal.SIGSEGV, "killed by SIGSEGV: Segmentation fault"),
        (3, "ended itself with exit code 3"),
    ],
)
def test_how_a_process_ended_in_words(code: int, words: str) -> None:
    assert server.describe_exit(code) == words


def test_only_those_with_problems_are_told() -> None:
    configs = {3: compose_config(), 5: compose_config(["optim.lr=-1"]), 9: compose_config(["model.kernel_size=99"])}
    problems, gpus = server.check(configs)
    assert problems.keys() == {5, 9}
    assert problems[5] == ("optim.lr: found -1: Invalid learning rate: -1",)
    assert isinstance(gpus, list)


def test_an_exit_code_of_255_is_the_process_s_own() -> None:
    process = server._start(os._exit, 255)
    process.join()
    assert process.exitcode == 255
    assert server.describe_exit(process.exitcode) == "ended itself with exit code 255"


def test_a_process_whose_server_died_is_lost() -> None:
    process = server._start(time.sleep, 60)
    os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)  # type: ignore[attr-defined]
    process.join()
    assert process.exitcode == server.LOST
    assert server.describe_exit(process.exitcode).startswith("killed with the server")
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
