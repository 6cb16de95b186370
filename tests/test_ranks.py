import pytest

from runner.ranks import is_leader, local_rank, local_size, world_size


def test_without_torchrun_this_process_is_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")  # as some schedulers set it for each of many runs
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert (world_size(), is_leader(), local_rank(), local_size()) == (1, True, 0, 1)


def test_under_torchrun_it_is_one_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert (world_size(), is_leader(), local_rank(), local_size()) == (4, False, 0, 2)
