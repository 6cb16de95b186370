import pytest

from runner.arguments import check_arguments, flags_first, hydra_overrides
from runner.errors import ConfigError


def test_flags_go_first_with_their_values_and_nothing_else_changes_places() -> None:
    typed = ["model=mlp", "--config-dir", "mine", "seed=1", "-m", "--cfg=job", "-cn", "other", "optim=adam"]
    assert flags_first(typed) == [
        *("--config-dir", "mine", "-m", "--cfg=job", "-cn", "other"),
        *("model=mlp", "seed=1", "optim=adam"),
    ]


def test_a_flag_at_the_end_may_lack_its_value() -> None:
    assert flags_first(["seed=1", "--cfg"]) == ["--cfg", "", "seed=1"]


@pytest.mark.parametrize("flag", [["--config-dir", "mine"], ["--config-dir=mine"], ["-cd", "mine"]])
def test_overrides_are_told_from_flags_and_their_values(flag: list[str]) -> None:
    assert hydra_overrides(["model=mlp", *flag, "-m", "--cfg", "job", "seed=1"]) == (["model=mlp", "seed=1"], "mine")


def test_without_the_flag_there_is_no_config_dir() -> None:
    assert hydra_overrides(["seed=1"]) == (["seed=1"], None)


def test_what_hydra_knows_and_is_harmless_passes() -> None:
    check_arguments(["-m", "--config-dir=mine", "--cfg", "job", "optim.lr=-1", "+model.depth=3"])


@pytest.mark.parametrize(
    ("argument", "problem"),
    [
        ("--experimental-rerun=config.pickle", "refused: it would read a pickle"),
        ("--nope", "--nope: no such flag; values are set as key=value"),
        ("--seed=1", "--seed=1: no such flag; did you mean seed=1, without dashes?"),
        ("+optim._target_=os.system", "a config cannot name code"),
    ],
)
def test_what_is_no_flag_or_would_run_code_is_refused(argument: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_arguments(["seed=1", argument])
    assert problem in str(caught.value)
