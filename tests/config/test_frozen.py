import re
from pathlib import Path

import pytest

from runner.config.compose import compose_config
from runner.config.frozen import freeze, read_overrides, thaw
from runner.errors import ConfigError


def test_thaw_inverts_freeze(tmp_path: Path) -> None:
    config = compose_config(["optim=adam", "seed=3", "name=x", "trainer.validate_every='20 steps'"])
    (tmp_path / "config.yaml").write_text(freeze(config))
    assert thaw(tmp_path / "config.yaml") == config


def test_overrides_are_read_as_they_were_typed(tmp_path: Path) -> None:
    typed_in = ["optim.weight_decay=${optim.lr}", "name='a: b'", "seed=1"]
    (tmp_path / "overrides.yaml").write_text(freeze(typed_in))
    assert read_overrides(tmp_path / "overrides.yaml") == typed_in
    assert read_overrides(tmp_path / "none.yaml") == []


@pytest.mark.parametrize("text", ["[a", "", "a: 1", "\x00"])
def test_damaged_overrides_file_is_rejected(tmp_path: Path, text: str) -> None:
    (tmp_path / "overrides.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"overrides\.yaml: damaged: "):
        read_overrides(tmp_path / "overrides.yaml")


def test_thaw_applies_overrides(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(freeze(compose_config()))
    assert thaw(tmp_path / "config.yaml", ["trainer.epochs=20"]).trainer.epochs == 20


def test_thaw_explains_each_override_that_it_refuses(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(freeze(compose_config()))
    with pytest.raises(ConfigError) as caught:
        thaw(tmp_path / "config.yaml", ["trainer.epoch=20", "optim.lr=[1", "dataset=mnst"])
    unreadable, unknown, option = caught.value.problems
    assert unreadable.startswith("optim.lr=[1: cannot be parsed: ")
    assert unknown.startswith("trainer.epoch: no such key; allowed: ")
    assert unknown.endswith("Did you mean epochs?")
    assert option.startswith("dataset: found 'mnst'; allowed: ")
    assert option.endswith("Did you mean mnist?")


@pytest.mark.parametrize("override", ["~trainer.clip_norm", "optim.lr=0.1,0.2"])
def test_thaw_refuses_to_delete_a_key_or_to_sweep(tmp_path: Path, override: str) -> None:
    (tmp_path / "config.yaml").write_text(freeze(compose_config()))
    with pytest.raises(ConfigError, match=re.escape(f"{override}: expected KEY=VALUE, with a single value")):
        thaw(tmp_path / "config.yaml", [override])


def test_missing_key_in_a_frozen_config_hints_at_another_version(tmp_path: Path) -> None:
    frozen = freeze(compose_config()).replace("  cuda_graph: false\n", "")
    (tmp_path / "config.yaml").write_text(frozen)
    with pytest.raises(ConfigError, match=r"(?s)trainer.cuda_graph: missing.*another version of runner; see env"):
        thaw(tmp_path / "config.yaml")


def test_thaw_finds_choices_in_the_folder_of_own_config_files(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(freeze(compose_config()))
    (tmp_path / "own" / "dataset").mkdir(parents=True)
    (tmp_path / "own" / "dataset" / "mine.yaml").write_text("defaults: [digits, _self_]\nsize: 12\n")
    thawed = thaw(tmp_path / "config.yaml", ["dataset=mine", "seed=5"], str(tmp_path / "own"))
    assert (thawed.dataset.name, thawed.dataset.values["size"], thawed.seed) == ("digits", 12, 5)
    with pytest.raises(ConfigError, match="dataset: found 'mine'; allowed: "):
        thaw(tmp_path / "config.yaml", ["dataset=mine"])
    with pytest.raises(ConfigError, match="--config-dir: no such folder: nowhere"):
        thaw(tmp_path / "config.yaml", ["dataset=mine"], "nowhere")
