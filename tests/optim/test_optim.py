from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from runner.config.schema import Config
from runner.registry import OPTIMIZERS


def step(name: str, values: dict[str, Any]) -> torch.Tensor:
    """Return the weight after one step, starting from weight 1 with gradient 0.5."""
    weight = nn.Parameter(torch.ones(1))
    optimizer = OPTIMIZERS.build(name, values, params=[weight], total_steps=9)
    weight.grad = torch.full((1,), 0.5)
    optimizer.step()
    return weight.detach()


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam)])
def test_is_torch_class(name: str, kind: type[torch.optim.Optimizer]) -> None:
    assert OPTIMIZERS.get(name).component is kind
    assert "params" not in OPTIMIZERS.parameters(name)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("sgd", torch.optim.SGD([nn.Parameter(torch.ones(1))], momentum=0.9, lr=0.01, fused=True)),
        ("adam", torch.optim.Adam([nn.Parameter(torch.ones(1))], fused=True)),
    ],
)
def test_config_values_are_torch_defaults_except_lr_and_momentum(
    tiny: Callable[..., Config], name: str, own: torch.optim.Optimizer
) -> None:
    values = tiny(f"optim={name}").optim.values
    assert values == {key: list(value) if isinstance(value, tuple) else value for key, value in own.defaults.items()}


def test_sgd_step() -> None:
    assert step("sgd", {"lr": 0.1}) == pytest.approx(1 - 0.1 * 0.5)
    assert step("sgd", {"lr": 0.1, "weight_decay": 0.2}) == pytest.approx(1 - 0.1 * (0.5 + 0.2 * 1))


def test_first_adam_step_has_size_lr() -> None:
    assert step("adam", {"lr": 0.1, "betas": [0.9, 0.999]}) == pytest.approx(1 - 0.1, abs=1e-6)


def test_parameter_groups_have_separate_values() -> None:
    first, second = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    groups = [{"params": [first], "lr": 0.5}, {"params": [second]}]
    optimizer = OPTIMIZERS.build("sgd", {"lr": 0.1, "momentum": 0.9}, params=groups)
    assert [(group["lr"], group["momentum"]) for group in optimizer.param_groups] == [(0.5, 0.9), (0.1, 0.9)]
