import signal

import pytest

from runner.config import compose_config
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
