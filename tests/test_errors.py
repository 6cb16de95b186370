import pytest

from runner.errors import CheckpointError, ConfigError, DataError, Diverged, RunnerError, nearest


def test_nearest_suggests_a_similar_name() -> None:
    assert nearest("lenett", ["mlp", "lenet"]) == "allowed: lenet, mlp. Did you mean lenet?"


def test_nearest_suggests_nothing_for_dissimilar_names() -> None:
    assert nearest("xyz", iter(["mlp", "lenet"])) == "allowed: lenet, mlp."


def test_nearest_says_none_without_allowed_names() -> None:
    assert nearest("xyz", []) == "allowed: none."


def test_config_error_lists_all_problems() -> None:
    error = ConfigError("seed: missing", "name: missing")
    assert error.problems == ("seed: missing", "name: missing")
    assert str(error) == "seed: missing\nname: missing"


@pytest.mark.parametrize(
    ("kind", "code"), [(RunnerError, 1), (DataError, 1), (CheckpointError, 1), (ConfigError, 2), (Diverged, 3)]
)
def test_exit_code_of_each_error(kind: type[RunnerError], code: int) -> None:
    assert issubclass(kind, RunnerError)
    assert kind("why").exit_code == code
