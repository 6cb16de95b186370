import os
import socket

import pytest
from torch.distributed import HashStore  # type: ignore[attr-defined]  # public, but not explicitly re-exported

from runner.errors import RunnerError
from runner.machine import failures
from runner.machine.distributed import World
from runner.machine.failures import explain
from runner.machine.rendezvous import Member

LOST = RuntimeError("[gloo/pair.cc:1] Connection closed by peer [127.0.0.1]:1\nstack")
GONE = 2**22 + 1  # larger than any process id of Linux


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> tuple[World, World]:
    """Return two ranks on this machine with a store; rank 1 has ended."""
    monkeypatch.setattr(failures, "GRACE", 0.1)
    host, store = socket.gethostname(), HashStore()
    members = [Member("a", host, os.getpid(), None), Member("b", host, GONE, None)]
    first, second = (World(rank, 2, members=members, store=store, timeout=9) for rank in range(2))
    return first, second


def test_single_process_has_nobody_to_blame() -> None:
    assert explain(World(), LOST) is LOST


def test_reported_failure_of_another_rank_is_quoted(pair: tuple[World, World]) -> None:
    first, second = pair
    second.report_failure("ValueError: on purpose\n")
    second.report_failure("a consequence")  # the first reason counts
    error = explain(first, LOST)
    assert isinstance(error, RunnerError)
    assert str(error).splitlines() == [
        "cannot communicate with the other ranks of this run: Connection closed by peer [127.0.0.1]:1",
        f"rank 1 ({second.members[1]}) failed: ValueError: on purpose",
    ]


def test_rank_that_ended_without_a_report_is_named(pair: tuple[World, World]) -> None:
    first, _ = pair
    message = str(explain(first, LOST))
    assert f"rank 1 (process {GONE} on {first.members[1].host}) has ended or does not respond" in message
    assert "rank 0" not in message


def test_ranks_that_only_lost_the_connection_are_not_blamed(pair: tuple[World, World]) -> None:
    first, second = pair
    explain(second, LOST)
    assert "rank 1" not in str(explain(first, LOST))


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("timed out"), RunnerError("socket")])
def test_other_errors_are_not_explained_by_communication(pair: tuple[World, World], error: Exception) -> None:
    assert explain(pair[0], error) is error
    assert not pair[0].store.check(["failed/0"])


@pytest.mark.parametrize(
    "limit", ["Expected to have finished reduction", "Expected to mark a variable ready only once"]
)
def test_limits_of_data_parallel_training_name_the_setting_without_them(pair: tuple[World, World], limit: str) -> None:
    assert "set trainer.shards=2, which allows this" in str(explain(pair[0], RuntimeError(f"{limit} once")))


def test_rank_that_hangs_is_named_although_it_runs(pair: tuple[World, World]) -> None:
    first, _ = pair
    first.members[1] = first.members[0]  # a process that runs
    error = explain(first, RuntimeError("Application timeout caused pair closure"))
    assert "rank 1 (process" in str(error)
    assert "does not respond (device.timeout=9)" in str(error)
