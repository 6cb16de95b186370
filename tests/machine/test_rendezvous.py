import socket
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]  # public, not re-exported

from helpers import wait_until
from runner.errors import RunnerError
from runner.machine import rendezvous
from runner.machine.rendezvous import Member, meet, open_store, this_process

Met = tuple[PrefixStore, list[Member]]


@pytest.fixture
def port() -> Iterator[int]:
    """Return the port of a store on the loopback interface, as torchrun keeps one."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    number = listener.getsockname()[1]
    store = TCPStore("127.0.0.1", number, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach())
    yield number
    del store


def connect(port: int) -> TCPStore:
    return TCPStore("127.0.0.1", port, is_master=False, timeout=timedelta(seconds=20))


def start(port: int, ranks: Iterable[int], size: int, timeout: float = 20) -> dict[int, Future[Met]]:
    """Let ranks meet, each in a thread with its own connection."""
    pool = ThreadPoolExecutor()
    met = {rank: pool.submit(meet, connect(port), rank, size, timeout) for rank in ranks}
    pool.shutdown(wait=False)
    return met


def results(met: dict[int, Future[Met]]) -> list[Met]:
    return [future.result(20) for future in met.values()]


def messages(met: dict[int, Future[Met]]) -> set[str]:
    return {str(future.exception(20)) for future in met.values()}


def test_ranks_meet_and_know_each_other(port: int) -> None:
    (first, members), *others = results(start(port, range(3), 3))
    assert len({member.id for member in members}) == 3
    assert all(found == members for _, found in others)
    first.set("greeting", "hello")
    assert all(store.get("greeting") == b"hello" for store, _ in others)


def test_ranks_meet_although_the_store_holds_keys_from_before_a_restart(port: int) -> None:
    groups = []
    for _ in range(3):
        met = results(start(port, range(3), 3))
        store, members = met[0]
        assert all(found == members for _, found in met)
        assert not store.check(["failed/1"])
        store.set("failed/1", "why this group has ended")
        groups.append({member.id for member in members})
    assert len(set.union(*groups)) == 9


def test_world_size_may_change_at_a_restart(port: int) -> None:
    for size in (4, 2, 3):
        assert [len(members) for _, members in results(start(port, range(size), size))] == [size] * size


def test_rank_may_restart_while_others_wait(port: int) -> None:
    with pytest.raises(RunnerError):
        results(start(port, [1], 3, timeout=0.05))  # this process ends before the others are here
    waiting = start(port, [0, 2], 3)
    store = PrefixStore(rendezvous.ROOT, connect(port))
    wait_until(lambda: store.check(["group"]))  # rank 0 has taken the ended process for a member
    assert not any(future.done() for future in waiting.values())
    met = results(waiting | start(port, [1], 3))
    assert all(members == met[0][1] for _, members in met)


def test_missing_rank_is_named_after_the_timeout(port: int) -> None:
    met = start(port, [0, 1, 3], 4, timeout=1)
    assert messages(met) == {"rank 2 did not start within device.timeout=1 s"}


@pytest.mark.parametrize("missing", [0, 1])
def test_rank_that_is_missing_after_a_restart_is_named(port: int, missing: int) -> None:
    results(start(port, range(3), 3))
    met = start(port, {0, 1, 2} - {missing}, 3, timeout=1)
    assert messages(met) == {f"rank {missing} did not start within device.timeout=1 s"}


def test_processes_of_one_torchrun_have_the_same_launcher_also_after_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    def launcher(path: str) -> str | None:
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", path)
        return this_process().launcher

    first = launcher("/tmp/torchelastic_a/none_x/attempt_0/0/error.json")
    assert first is not None
    assert launcher("/tmp/torchelastic_a/none_x/attempt_0/1/error.json") == first
    assert launcher("/tmp/torchelastic_a/none_x/attempt_1/0/error.json") == first
    assert launcher("/tmp/torchelastic_a/none_y/attempt_0/0/error.json") != first
    with monkeypatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: "another machine")
        assert launcher("/tmp/torchelastic_a/none_x/attempt_0/0/error.json") != first
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE")
    assert this_process().launcher is None


@pytest.fixture
def torchrun(monkeypatch: pytest.MonkeyPatch, port: int) -> pytest.MonkeyPatch:
    """Set the environment of rank 1 of 2 in torchrun."""
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.parametrize(("agent", "rank", "keeps"), [(True, 0, False), (False, 0, True), (False, 1, False)])
def test_rank_0_keeps_the_store_only_if_torchrun_keeps_none(
    torchrun: pytest.MonkeyPatch, port: int, agent: bool, rank: int, keeps: bool
) -> None:
    opened: list[bool] = []

    def store(host: str, number: int, is_master: bool, timeout: timedelta) -> TCPStore:
        opened.append(is_master)
        return TCPStore(host, number, is_master=False, timeout=timeout)  # a store would listen on all interfaces

    torchrun.setattr(rendezvous, "TCPStore", store)
    if agent:
        torchrun.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    open_store(rank, 5).set("key", "value")
    assert connect(port).get("key") == b"value"
    assert opened == [keeps]


@pytest.mark.parametrize(("restart", "agent", "allowed"), [("0", None, True), ("1", "True", True), ("1", None, False)])
def test_restarts_need_the_store_of_torchrun(
    torchrun: pytest.MonkeyPatch, restart: str, agent: str | None, allowed: bool
) -> None:
    torchrun.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    torchrun.setenv("TORCHELASTIC_RESTART_COUNT", restart)
    if agent is not None:
        torchrun.setenv("TORCHELASTIC_USE_AGENT_STORE", agent)
    if allowed:
        assert open_store(1, 5).check([]) is True
    else:
        with pytest.raises(RunnerError, match=r"restarts need --standalone or --rdzv_backend=c10d; .* `resume FOLDER`"):
            open_store(1, 5)
