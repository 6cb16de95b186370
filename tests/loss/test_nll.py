from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from runner.registry import LOSSES

COUNTS = torch.tensor([4, 2, 1, 1])
LOGITS = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 0, 0, 0, 1, 1, 2, 3])


def loss(**values: Any) -> nn.NLLLoss:
    built: nn.NLLLoss = LOSSES.build("nll", values, class_counts=COUNTS)
    return built


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weight", [None, [1.0, 10.0, 100.0, 100.0], "balanced"])
def test_equals_cross_entropy_after_log_softmax(weight: Any, reduction: str) -> None:
    values = {"weight": weight, "reduction": reduction}
    cross_entropy = LOSSES.build("cross_entropy", values, class_counts=COUNTS)
    assert torch.equal(loss(**values)(LOGITS.log_softmax(1), TARGETS), cross_entropy(LOGITS, TARGETS))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_equals_torch(reduction: str) -> None:
    found = loss(weight=[1.0, 10.0, 100.0, 100.0], reduction=reduction, ignore_index=1)(LOGITS, TARGETS)
    weight = torch.tensor([1.0, 10.0, 100.0, 100.0])
    assert torch.equal(found, F.nll_loss(LOGITS, TARGETS, weight, reduction=reduction, ignore_index=1))


def test_wrong_number_of_weights_raises() -> None:
    with pytest.raises(ValueError, match="weight has 2 values for 4 classes"):
        loss(weight=[1.0, 2.0])
