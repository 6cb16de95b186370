from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from runner import cli
from runner.config.compose import typed
from runner.config.explain import in_words
from runner.config.problems import find_problems
from runner.errors import ConfigError
from runner.training.checks.check import check


@pytest.fixture
def no_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the sweepers and launchers of optional packages from Hydra."""
    Plugins.instance()  # creating it adds them
    options = ConfigStore.instance().repo["hydra"]
    for group, name in (("launcher", "ray"), ("launcher", "submitit_slurm"), ("sweeper", "optuna")):
        monkeypatch.delitem(options.get(group, {}), f"{name}.yaml", raising=False)


@pytest.mark.usefixtures("no_extras")
@pytest.mark.parametrize(
    ("override", "extra"),
    [("hydra/launcher=ray", "ray"), ("hydra/launcher=submitit_slurm", "submitit"), ("hydra/sweeper=optuna", "optuna")],
)
def test_missing_launcher_or_sweeper_is_reported_with_its_install_command(
    workdir: Path, capsys: pytest.CaptureFixture[str], override: str, extra: str
) -> None:
    assert cli.main(["-m", override, "seed=0,1"]) == 2
    key, _, value = override.partition("=")
    error = capsys.readouterr().err
    assert error.startswith(f"error: {key}: found {value!r}; allowed: basic, ")
    assert error.endswith(f" To get {value}, run pip install -e '.[{extra}]' in the clone of runner\n")
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize("override", ["hydra/launcher=rays", "model=ray"])
def test_other_unknown_options_have_no_install_hint(override: str) -> None:
    (line,) = find_problems([override], None, typed)
    assert "pip install" not in line


def test_valid_overrides_have_no_problems() -> None:
    assert find_problems(["model=mlp", "seed=0,1"], None, typed) == []


def test_each_value_of_a_sweep_is_checked() -> None:
    (line,) = find_problems(["model=mlp,lenett", "seed=0"], None, typed)
    assert line.startswith("model: found 'lenett'; ")


def test_all_problems_are_reported() -> None:
    def refuse(cfg: object) -> None:
        raise ConfigError("seed: is odd")

    unread, model, refused = find_problems(["nonsense", "seed=1", "model=lenett"], None, refuse)
    assert unread.startswith("nonsense: neither a command nor key=value")
    assert model.startswith("model: found 'lenett'")
    assert refused == "seed: is odd"


def test_config_dir_is_searched(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("name: mlp\nhidden: [4]\n")
    assert find_problems(["model=mine"], str(tmp_path), typed) == []
    assert find_problems(["model=mine"], None, typed) != []


def test_other_errors_keep_their_message() -> None:
    assert in_words(ValueError("so it is")) == "so it is"


def test_unknown_hydra_key_gets_a_suggestion() -> None:
    (line,) = find_problems(["hydra.sweep.subdirs=x"], None, typed)
    assert line == "hydra.sweep.subdirs: no such key; allowed: dir, subdir. Did you mean subdir?"


@pytest.mark.usefixtures("workdir")
def test_values_that_hydra_rejects_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["hydra.help.header=[]", "hydra.job.num=soon"]) == 2  # the second has no value yet
    assert capsys.readouterr().err == (
        "error: hydra.help.header=[]: Cannot convert 'list' to string: '[]'\n"
        "       hydra.job.num=soon: Value 'soon' of type 'str' could not be converted to Integer\n"
    )


def test_no_problem_is_reported_about_a_default_in_place_of_a_wrong_value() -> None:
    (line,) = find_problems(["dataset.folds=5", "dataset.fold=5"], None, lambda cfg: check(typed(cfg)))
    assert line == "dataset.fold: found 5; allowed with dataset.folds=5: 0 to 4"
