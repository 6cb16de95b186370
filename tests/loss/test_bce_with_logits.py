from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers import metric_set_of
from runner.config.schema import Config
from runner.errors import ConfigError
from runner.registry import LOSSES
from runner.training.checks.check import check
from runner.training.setup.build import build_loss

OUTPUTS = torch.tensor([[0.5, -2.0, 1.0], [0.0, 3.0, -1.0]])
VALUES = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def loss(**values: Any) -> nn.BCEWithLogitsLoss:
    built: nn.BCEWithLogitsLoss = LOSSES.build("bce_with_logits", values, class_counts=torch.tensor([1, 1, 1]))
    return built


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("pos_weight", [None, [2.0], [1.0, 2.0, 3.0]])
def test_equals_torch(pos_weight: list[float] | None, reduction: str) -> None:
    weight = None if pos_weight is None else torch.tensor(pos_weight)
    torchs = F.binary_cross_entropy_with_logits(OUTPUTS, VALUES, pos_weight=weight, reduction=reduction)
    assert torch.equal(loss(pos_weight=pos_weight, reduction=reduction)(OUTPUTS, VALUES), torchs)


def test_class_targets_are_one_hot_encoded(tiny: Callable[..., Config]) -> None:
    task = metric_set_of("classification", 3).task
    built = build_loss(tiny("loss=bce_with_logits"), task, torch.ones(3))
    assert torch.equal(built(OUTPUTS, torch.tensor([0, 2])), loss()(OUTPUTS, VALUES))


def test_wrong_number_of_weights_raises(tiny: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"loss.pos_weight: found \[1, 2\]: pos_weight has 2 values for 10 classes"):
        check(tiny("loss=bce_with_logits", "loss.pos_weight=[1,2]"))
