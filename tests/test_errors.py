import pytest

from runner.errors import CheckpointError, ConfigError, DataError, Diverged, RunnerError, nearest


def test_the_nearest_name_is_meant() -> None:
    assert nearest("lenett", ["mlp", "lenet"]) == "allowed: lenet, mlp. Did you mean lenet?"


def test_a_name_that_is_far_from_all_gets_no_hint() -> None:
    assert nearest("xyz", iter(["mlp", "lenet"])) == "allowed: lenet, mlp."


def test_where_nothing_is_allowed_it_says_so() -> None:
    assert nearest("xyz", []) == "allowed: none."


def test_all_problems_of_a_config_are_in_one_message() -> None:
    error = ConfigError("seed: missing", "name: missing")
    assert error.problems == ("seed: missing", "name: missing")
    assert str(error) == "seed: missing\nname: missing"


@pytest.mark.parametrize(
    ("kind", "code"), [(RunnerError, 1), (DataError, 1), (CheckpointError, 1), (ConfigError, 2), (Diverged, 3)]
)
def test_every_error_has_its_exit_code(kind: type[RunnerError], code: int) -> None:
    assert issubclass(kind, RunnerError)
    assert kind("why").exit_code == code
