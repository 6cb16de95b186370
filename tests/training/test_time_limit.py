"""Tests of `trainer.max_minutes`."""

from collections.abc import Callable
from pathlib import Path

from helpers import metrics_table, results
from runner import cli


def test_run_ends_as_completed_when_its_time_is_up(runner: Callable[..., Path]) -> None:
    folder = runner("trainer.max_minutes=1e-9")
    found = results(folder)
    assert (found["status"], found["step"], found["epoch"]) == ("completed", 1, 0)
    assert found["test"]
    assert len(metrics_table(folder)) == 2


def test_time_counts_over_all_resumes_and_may_be_extended(runner: Callable[..., Path]) -> None:
    folder = runner("trainer.max_minutes=1e-9", "trainer.epochs=2")
    assert cli.main(["resume", str(folder)]) == 0
    assert results(folder)["step"] == 1
    assert cli.main(["resume", str(folder), "trainer.max_minutes=10"]) == 0
    assert (results(folder)["status"], results(folder)["epoch"]) == ("completed", 2)


def test_run_that_is_done_earlier_ignores_the_limit(runner: Callable[..., Path]) -> None:
    limited, unlimited = runner("trainer.max_minutes=10", "trainer.epochs=1"), runner("trainer.epochs=1")
    assert metrics_table(limited) == metrics_table(unlimited)
