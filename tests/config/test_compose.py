import re

import pytest
import yaml

from runner.config.compose import compose_config
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
        ("optim.lr.x=3", "optim.lr.x: no such key; optim.lr is 0.01"),
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
