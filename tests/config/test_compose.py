import re
from pathlib import Path

import pytest
import yaml

from runner.config.compose import compose_config, freeze, read_overrides, thaw
from runner.config.composition import CONF
from runner.config.schema import Component, Dataset
from runner.errors import ConfigError
from runner.registry import REGISTRIES
from runner.training.checks.check import check

FILES = sorted(path.relative_to(CONF) for path in CONF.rglob("*.yaml"))
OPTIONS = [(path.parts[0], path.stem) for path in FILES if len(path.parts) == 2]
# Options that need a device or a file that this machine may not have.
ELSEWHERE = {("device", "cuda"), ("device", "mps"), ("dataset", "csv"), ("dataset", "image_folder")}
# Further overrides for options that do not fit the default components.
REGRESSION = ["model=mlp", "loss=mse"]
COMPANIONS = {
    **{("dataset", name): REGRESSION for name in ("parabola", "line", "edges", "sine", "random_pairs")},
    ("loss", "nll"): ["model=mnist_cnn"],
    ("model", "line"): ["dataset=line", "loss=mse"],
    ("model", "single_conv"): ["dataset=edges", "loss=mse"],
    ("dataset", "text"): ["model=gpt"],
    ("dataset", "shapes"): ["model=unet"],
    ("dataset", "multilabel_digits"): ["loss=bce_with_logits"],
    ("model", "gpt"): ["dataset=text"],
    ("model", "unet"): ["dataset=shapes"],
    ("model", "autoencoder"): ["task=reconstruction", "loss=mse"],
    ("task", "regression"): ["dataset=line", *REGRESSION],
    ("task", "multilabel"): ["dataset=multilabel_digits", "loss=bce_with_logits"],
    ("task", "segmentation"): ["dataset=shapes", "model=unet"],
    ("task", "language_modeling"): ["dataset=text", "model=gpt"],
    ("task", "reconstruction"): ["model=autoencoder", "loss=mse"],
}


def test_all_config_files_are_tested() -> None:
    assert len(FILES) == 98
    assert len(OPTIONS) == len(FILES) - 5  # without config.yaml, dataset_defaults.yaml and three files in hydra/


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_each_config_file_composes_and_passes_the_check(group: str, option: str) -> None:
    config = compose_config([f"{group}={option}", *COMPANIONS.get((group, option), [])])
    if (group, option) not in ELSEWHERE:
        check(config)


@pytest.mark.parametrize(("group", "option"), [each for each in OPTIONS if each[0] in REGISTRIES])
def test_each_config_file_contains_exactly_the_parameters_of_its_component(group: str, option: str) -> None:
    choice: Component = getattr(compose_config([f"{group}={option}"]), group)
    assert choice.name == option
    assert choice.values.keys() == REGISTRIES[group].parameters(option).keys()


def test_shared_dataset_keys_are_in_one_file() -> None:
    shared = yaml.safe_load((CONF / "dataset_defaults.yaml").read_text())
    assert shared.keys() == Dataset.model_fields.keys() - {"name"}
    for path in (CONF / "dataset").glob("*.yaml"):
        assert [key for key, value in yaml.safe_load(path.read_text()).items() if shared.get(key, ...) == value] == []


def test_file_of_shared_dataset_keys_is_not_a_dataset() -> None:
    with pytest.raises(ConfigError, match=r"^dataset: found 'dataset_defaults'; allowed: cifar10, csv, .*, text\.$"):
        compose_config(["dataset=dataset_defaults"])


@pytest.mark.parametrize("group", REGISTRIES)
def test_each_component_has_a_config_file(group: str) -> None:
    assert REGISTRIES[group].names() == sorted(option for folder, option in OPTIONS if folder == group)


@pytest.mark.parametrize("option", [option for group, option in OPTIONS if group == "experiment"])
def test_each_recipe_states_command_result_and_time(option: str) -> None:
    header = (CONF / "experiment" / f"{option}.yaml").read_text().split("\n\n")[0]
    assert f"python -m runner experiment={option}" in header
    assert re.search(r"^# Expected: .*^# Time: ", header, re.MULTILINE | re.DOTALL)


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


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("trainer.epochs=0.5", "trainer.epochs: found 0.5; Input should be a valid integer"),
        ("trainer.epochs=true", "trainer.epochs: found True; Input should be a valid integer"),
        ("trainer.epochs=null", "trainer: trainer.epochs or trainer.max_steps must be a number: schedules need"),
        ("trainer.batch_size=0", "trainer.batch_size: found 0; Input should be greater than or equal to 1"),
        ("trainer.validate_every=3weeks", "trainer.validate_every: found '3weeks'; should be a number of epochs"),
        ("trainer.clip_norm=-1", "trainer.clip_norm: found -1"),
        ("+trainer.epoch=3", "trainer.epoch: no such key; allowed: .* Did you mean epochs?"),
        ("+sede=3", "sede: no such key; allowed: .* Did you mean seed?"),
        ("trainer.epoch=3", "trainer.epoch: no such key; allowed: .* Did you mean epochs?"),
        ("model=lenett", "model: found 'lenett'; allowed: .* Did you mean lenet?"),
        ("seed='0'", "seed: found '0'; Input should be a valid integer"),
        ("name=${nowhere}", "name: found '${nowhere}'; Interpolation key 'nowhere' not found"),
        ("seed=???", "seed: found '???'; Missing mandatory value: seed"),
        ("+model._target_=os.system", "model._target_: a config cannot name code"),
        ("+optim.deep={a:[{_target_:os.system}]}", r"optim.deep.a.0._target_: a config cannot name code"),
        ("device.name=gpu", "device.name: found 'gpu'; "),
        ("nonsense", "nonsense: neither a command nor key=value; commands: resume,"),
    ],
)
def test_invalid_override_is_reported_in_one_line(override: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_config([override])
    (line,) = caught.value.problems
    assert re.match(problem.replace("?", r"\?").replace("$", r"\$").replace("{", r"\{"), line), line


def test_all_invalid_overrides_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        compose_config(["model=lenett", "optim.lrr=1", "trainer.epochs=0.5", "seed=a"])
    keys = [line.partition(":")[0] for line in caught.value.problems]
    assert keys == ["model", "optim.lrr", "seed", "trainer.epochs"]


def test_false_zero_and_null_are_values() -> None:
    config = compose_config(["seed=0", "trainer.epochs=null", "trainer.max_steps=1", "dataset.in_memory=false"])
    assert (config.seed, config.trainer.epochs, config.dataset.in_memory) == (0, None, False)
