import importlib
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from helpers import finish, start
from runner.errors import ConfigError
from runner.registry import MODELS, OPTIMIZERS, REGISTRIES, Registry


@pytest.fixture
def registry() -> Registry:
    made = Registry("model")

    @made.register("line", supply={"width": "in_shape"}, hide=("secret",))
    def line(width: int, bias: float, names: tuple[str, ...] = (), secret: int = 0) -> tuple[object, ...]:
        return width, bias, names

    return made


def test_build_passes_values_and_the_supplied_arguments_in_the_signature(registry: Registry) -> None:
    assert registry.build("line", {"bias": 0.5}, in_shape=3, total_steps=9) == (3, 0.5, ())


def test_parameters_exclude_supplied_and_hidden_ones(registry: Registry) -> None:
    assert list(registry.parameters("line")) == ["bias", "names"]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"bias": 1, "names": ["a"]}, None),
        ({"bias": "one", "names": []}, "model.bias: found 'one'; Input should be a valid number"),
        ({"bias": float("nan"), "names": []}, "model.bias: found nan; Input should be a finite number"),
        ({"names": []}, "model.bias: missing, needed by line"),
        ({"bias": 1.0, "nmes": [], "names": []}, "model.nmes: no such key; allowed: bias, names. Did you mean names?"),
        ({"bias": 1.0, "names": [], "secret": 1}, "model.secret: no such key; allowed: bias, names."),
    ],
)
def test_check_validates_values_against_the_signature(
    registry: Registry, values: dict[str, object], problem: str | None
) -> None:
    if problem is None:
        registry.check("line", values)
    else:
        with pytest.raises(ConfigError) as caught:
            registry.check("line", values)
        assert str(caught.value) == problem


def test_unknown_name_raises_with_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"model.name: found 'lenett'; allowed: .*Did you mean lenet\?"):
        MODELS.get("lenett")


def test_duplicate_name_raises_naming_both_components(registry: Registry) -> None:
    with pytest.raises(ValueError, match=r"registered twice: by .*line and by torch.nn.modules.linear.Linear"):
        registry.register("line")(nn.Linear)


@pytest.mark.parametrize(
    ("traits", "problem"),
    [
        ({"chanels_last": True}, "model 'x': register() has no argument 'chanels_last'; .*Did you mean channels_last?"),
        ({"targets": "value"}, "model 'x': targets: found 'value'; Input should be 'classes' or 'values'"),
        ({"channels_last": "yes"}, "model 'x': channels_last: found 'yes'; Input should be a valid boolean"),
    ],
)
def test_invalid_trait_raises(registry: Registry, traits: dict[str, Any], problem: str) -> None:
    with pytest.raises(TypeError, match=problem.replace("(", r"\(").replace(")", r"\)").replace("?", r"\?")):
        registry.register("x", **traits)
    assert "x" not in registry.names()


def test_registering_the_same_component_twice_is_allowed(registry: Registry) -> None:
    registry.register("linear")(nn.Linear)
    registry.register("linear")(nn.Linear)
    assert "linear" in registry.names()


def test_torch_classes_are_registered_unchanged() -> None:
    assert OPTIMIZERS.get("sgd").component is torch.optim.SGD


TINY = '''
from math import prod
from torch import nn
from runner.registry import MODELS

@MODELS.register("tiny")
class Tiny(nn.Sequential):
    """One layer."""

    def __init__(self, in_shape: tuple[int, ...], out_features: int, bias: bool) -> None:
        super().__init__(nn.Flatten(), nn.Linear(prod(in_shape), out_features, bias=bias))
'''


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Return a folder with a copy of the source and the configs."""
    source = Path(__file__).parents[1]
    for part in ("src", "conf"):
        shutil.copytree(source / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.slow
def test_new_model_needs_only_its_module_and_yaml_file(copied: Path) -> None:
    (copied / "src/runner/model/tiny.py").write_text(TINY)
    (copied / "conf/model/tiny.yaml").write_text("name: tiny\nbias: false\n")
    output = finish(start("model=tiny", "dry_run=true", cwd=copied, PYTHONPATH=str(copied / "src")))
    assert "dry run" in output
    assert "Tiny" in output


@pytest.mark.parametrize("registry", REGISTRIES.values(), ids=REGISTRIES)
def test_every_module_of_a_group_is_imported(registry: Registry) -> None:
    registry.names()
    package = importlib.import_module(f"runner.{registry.group}")
    files = {path.stem for folder in package.__path__ for path in Path(folder).glob("*.py")} - {"__init__"}
    assert {f"{package.__name__}.{file}" for file in files} <= sys.modules.keys()
