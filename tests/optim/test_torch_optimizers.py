"""Tests of all torch optimizers: registration, default values, parameter groups and a training run."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from helpers import results
from runner.config.schema import Config
from runner.errors import ConfigError
from runner.optim import TORCH
from runner.registry import OPTIMIZERS
from runner.training.checks.check import check
from runner.training.setup.build import build

VECTORS_TOO = sorted(TORCH.keys() - {"muon"})  # those that train all parameters alone


def test_all_torch_optimizers_except_sparse_adam_are_registered() -> None:
    classes = {each for each in vars(torch.optim).values() if isinstance(each, type)}
    optimizers = {each for each in classes if issubclass(each, torch.optim.Optimizer)}
    assert set(TORCH.values()) == optimizers - {torch.optim.Optimizer, torch.optim.SparseAdam}
    assert {name: OPTIMIZERS.get(name).component for name in TORCH} == TORCH


@pytest.mark.parametrize("name", sorted(TORCH.keys() - {"sgd"}))
def test_config_values_are_torch_defaults_except_fused(tiny: Callable[..., Config], name: str) -> None:
    defaults = {key: parameter.default for key, parameter in OPTIMIZERS.parameters(name).items()}
    values = tiny(f"optim={name}").optim.values
    defaults |= {"fused": True} if name in ("adam", "adamw") else {}
    assert values == {key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()}


@pytest.mark.parametrize("name", [*TORCH, "gradient_descent"])
def test_optimizer_trains_with_a_finite_loss(runner: Callable[..., Path], name: str) -> None:
    values = results(runner(f"optim={name}", "trainer.epochs=1"))
    assert values["status"] == "completed"
    assert math.isfinite(values["train"]["loss"])


@pytest.mark.parametrize("name", [name for name in VECTORS_TOO if name != "lbfgs"])
def test_parameter_groups_have_separate_values(tiny: Callable[..., Config], name: str) -> None:
    config = tiny(f"optim={name}", "optim.groups=[{match: '*.bias', lr: 0.5}]")
    check(config)
    usual = config.optim.values["lr"]
    assert [group["lr"] for group in build(config).optimizer.param_groups] == [0.5, usual]


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (
            ["optim=muon", "optim.groups=[]"],
            r"optim=muon: Muon only supports 2D parameters whereas .* size: torch.Size\(\[16\]\)",
        ),
        (["optim=lbfgs", "optim.groups=[{match: '*.bias'}]"], "optim=lbfgs: LBFGS doesn't support per-parameter"),
        (["optim=lbfgs", "trainer.precision=fp16"], "trainer.precision: found 'fp16'; optim=lbfgs evaluates the loss"),
    ],
)
def test_incompatible_settings_raise(tiny: Callable[..., Config], overrides: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        check(tiny(*overrides))
    assert len(caught.value.problems) == 1


def test_muon_trains_model_of_matrices(workdir: Path, runner: Callable[..., Path], tiny: Callable[..., Config]) -> None:
    (workdir / "matrix_plugin.py").write_text(
        "from torch import nn\n"
        "from runner.registry import MODELS\n"
        "@MODELS.register('matrix')\n"
        "def matrix() -> nn.Module:\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False))\n"
    )
    ours = ["plugins=[matrix_plugin]", "model.name=matrix", *(f"~model.{key}" for key in tiny().model.values)]
    folder = runner("optim=muon", "optim.lr=0.1", *ours)
    assert results(folder)["test"]["accuracy"] > 0.8


def test_invalid_model_is_reported_without_muon_error(tiny: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError) as caught:
        check(tiny("optim=muon", "model.hidden=[0]"))
    assert [line.split(":")[0] for line in caught.value.problems] == ["model=mlp"]
