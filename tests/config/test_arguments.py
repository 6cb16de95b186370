import pytest

from runner.config.arguments import Typed, check_arguments, split
from runner.errors import ConfigError


def test_split_separates_flags_with_their_values_from_overrides() -> None:
    typed = split(["model=mlp", "seed=1", "-m", "--cfg=job", "--package", "optim", "-cn", "other", "optim=adam"])
    assert typed.flags == ["-m", "--cfg=job", "--package", "optim", "-cn", "other"]
    assert typed.overrides == ["model=mlp", "seed=1", "optim=adam"]
    assert (typed.config_dir, typed.config_name) == (None, "other")


@pytest.mark.parametrize("flag", [["--config-dir", "mine"], ["--config-dir=mine"], ["-cd", "mine"]])
def test_config_dir_is_separated_from_hydra_flags(flag: list[str]) -> None:
    assert split(["model=mlp", *flag, "-m"]) == Typed(["-m"], ["model=mlp"], "mine", "config")


def test_last_flag_may_lack_its_value() -> None:
    assert split(["seed=1", "--cfg"]) == Typed(["--cfg", ""], ["seed=1"])


def test_harmless_hydra_arguments_are_allowed() -> None:
    check_arguments(["hydra.sweeper.n_trials=3", "hydra/launcher=basic", "hydra.job.num=1"])
    check_arguments([])
    check_arguments(["-m", "--config-dir=mine", "--cfg", "job", "optim.lr=-1", "+model.depth=3"])


@pytest.mark.parametrize(
    ("argument", "problem"),
    [
        ("--experimental-rerun=config.pickle", "refused: it would read a pickle"),
        ("--nope", "--nope: no such flag; values are set as key=value"),
        ("--seed=1", "--seed=1: no such flag; did you mean seed=1, without dashes?"),
        ("+optim._target_=os.system", "a config cannot name code"),
        ("--config-path=mine", "refused: it replaces the config files of runner; add yours with --config-dir"),
        ("hydra.run.dir=D", "hydra.run.dir=D: refused: output_dir=FOLDER sets"),
        ("hydra.sweep.dir=D", "refused: output_dir=FOLDER sets"),
        ("hydra.sweep.subdir=D", "refused: output_dir=FOLDER sets"),
        ("hydra.output_subdir=D", "refused: a run folder always holds"),
        ("hydra.job.name=D", "refused: name=NAME sets"),
        ("hydra.job.chdir=true", "refused: a run stays in the folder"),
        ("hydra.verbose=true", "refused: run.log"),
        ("hydra.searchpath=[file://mine]", "refused: --config-dir FOLDER"),
        ("+hydra.callbacks.a={}", "refused: a config cannot name code"),
        ("hydra/callbacks@x=a", "refused: a config cannot name code"),
        ("hydra/job_logging=default", "refused: run.log"),
        ("~hydra.hydra_logging", "refused: run.log"),
        ("hydra.sweeper.custom_search_space=os.system", "refused: a config cannot name code"),
    ],
)
def test_unknown_unsafe_and_ineffective_arguments_are_rejected(argument: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_arguments(["seed=1", argument])
    assert problem in str(caught.value)
