import pytest

from runner import cli
from runner.errors import ConfigError
from runner.machine.ranks import is_elastic, is_leader, local_rank, local_size, rank, world_size

TORCHRUN = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost"}


def test_world_size_is_one_without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")  # some schedulers set it
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert (world_size(), rank(), is_leader(), local_rank(), local_size()) == (1, 0, True, 0, 1)


def test_ranks_are_read_from_the_environment_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert (world_size(), rank(), is_leader(), local_rank(), local_size()) == (4, 2, False, 0, 2)


@pytest.mark.parametrize("name", ["WORLD_SIZE", "RANK", "MASTER_ADDR"])
@pytest.mark.parametrize("value", ["", None])
def test_variables_of_other_launchers_are_ignored(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    for known in TORCHRUN:
        monkeypatch.setenv(known, TORCHRUN[known])
    monkeypatch.setenv(name, "") if value is not None else monkeypatch.delenv(name)
    assert (world_size(), rank(), is_leader(), local_rank(), local_size()) == (1, 0, True, 0, 1)


@pytest.mark.parametrize("name", ["WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"])
def test_variable_that_is_not_a_number_is_rejected(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for known in TORCHRUN:
        monkeypatch.setenv(known, "many" if known == name else TORCHRUN[known])
    with pytest.raises(ConfigError, match=f"{name}: found 'many' in the environment; expected a number"):
        world_size(), rank(), is_leader(), local_rank(), local_size()


@pytest.mark.parametrize(("restarts", "elastic"), [("3", True), ("0", False), ("", False), (None, False)])
def test_run_is_elastic_if_torchrun_restarts_its_processes(
    monkeypatch: pytest.MonkeyPatch, restarts: str | None, elastic: bool
) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    if restarts is not None:
        monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", restarts)
    assert is_elastic() is elastic
    monkeypatch.delenv("RANK")  # without torchrun
    assert not is_elastic()


def test_invalid_variable_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for known in TORCHRUN:
        monkeypatch.setenv(known, "many")
    assert cli.main(["--version"]) == 2
    assert capsys.readouterr().err == (
        "error: WORLD_SIZE: found 'many' in the environment; expected a number, as torchrun sets it\n"
    )
