from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.config.compose import compose_config
from runner.errors import ConfigError
from runner.sweep.jobs import Job, Sweep
from runner.sweep.search import Search, check_same_search, check_same_trial

TPE = {"_target_": "optuna.samplers.TPESampler", "seed": 3}


def search(*overrides: str, config_dir: str | None = None, **settings: Any) -> Search:
    values = {"sampler": TPE, "storage": None, "n_trials": 20, **settings}
    return Search(["hydra/sweeper=optuna", "optim.lr=interval(0,1)", *overrides], config_dir, "config", values)


def test_search_is_frozen_as_plain_values(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, [Job("a", ["optim.lr=1"], [], {}, compose_config())], search())
    assert sweep.search is not None
    sweep.search.told += [0.5, float("inf")]
    sweep.save()
    assert Sweep.open(tmp_path) == sweep
    assert "!!" not in (tmp_path / "sweep.yaml").read_text()


@pytest.mark.parametrize("damage", [{"overrides": 3}, {"told": ["a"]}, {"settings": []}, {"config_dir": {}}])
def test_damaged_search_is_reported(tmp_path: Path, damage: dict[str, Any]) -> None:
    Sweep(tmp_path, [Job("a", [], [], {}, compose_config())], search()).save()
    values = yaml.safe_load((tmp_path / "sweep.yaml").read_text())
    values["search"] |= damage
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match="damaged"):
        Sweep.open(tmp_path)


def test_search_repeats_its_command_line(tmp_path: Path) -> None:
    typed = search("seed=1", config_dir="conf").arguments(tmp_path)
    assert typed.flags == ["-m"]
    assert typed.overrides == ["hydra/sweeper=optuna", "optim.lr=interval(0,1)", "seed=1"]
    assert typed.config_dir == "conf"


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("hydra/launcher=basic", "refused"),
        ("+hydra.searchpath=[pkg://os]", "refused"),
        ("hydra.launcher._target_=os.system", "refused"),
        ("--config-path=/", "refused"),
        ("hydra.sweeper.sampler._target_=os.system", "a config cannot name code"),
        ("hydra.sweeper.custom_search_space=os.system", "a config cannot name code"),
    ],
)
def test_sweep_file_cannot_set_other_parts_of_hydra(tmp_path: Path, override: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        search(override).arguments(tmp_path)


def test_sweep_folder_cannot_bring_config_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="config files in a sweep folder are not used"):
        search(config_dir=str(tmp_path / "conf")).arguments(tmp_path)


def test_search_without_seed_or_with_storage_cannot_be_repeated() -> None:
    grid = search(sampler={"_target_": "optuna.samplers.GridSampler", "_partial_": True})
    assert grid.obstacle == "the sampler GridSampler has no seed, so that its proposals cannot be repeated"
    assert "start a new sweep with the same storage" in str(search(storage="sqlite:///x.db").obstacle)
    assert search().obstacle is None


def test_number_of_trials_can_be_raised() -> None:
    found = search("hydra.sweeper.n_trials=20")
    found.extend(40, begun=7)
    assert found.trials == 40
    assert found.overrides[-1] == "hydra.sweeper.n_trials=40"
    assert len(found.overrides) == 3
    with pytest.raises(ConfigError, match=r"found 6, but 7 trials have begun; allowed: 7 or more"):
        found.extend(6, begun=7)


def test_changed_config_files_are_named_with_both_values() -> None:
    old, new = compose_config(["optim.momentum=0.9"]), compose_config(["optim.momentum=0.5", "device.threads=3"])
    check_same_search(search(), search().settings, old, old)
    with pytest.raises(ConfigError) as found:
        check_same_search(search(), search(n_trials=21).settings, old, new)
    assert list(found.value.problems) == [
        "hydra.sweeper.n_trials: found 21, but the search began with 20",
        "optim.momentum: found 0.5, but the search began with 0.9",
        "the config files have changed: undo this to continue",
    ]


def test_other_proposal_is_named() -> None:
    check_same_trial(3, ["optim.lr=0.1", "sweep.jobs=1"], ["optim.lr=0.1", "sweep.jobs=2"], 8)
    with pytest.raises(ConfigError, match=r"trial 3: the sampler now proposes optim.lr=0.2 instead of optim.lr=0.1"):
        check_same_trial(3, ["optim.lr=0.1", "seed=1"], ["optim.lr=0.2", "seed=1"], 8)
