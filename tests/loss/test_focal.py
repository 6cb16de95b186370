from typing import Any

import pytest
import torch
import torch.nn.functional as F

from runner.loss.focal import Focal
from runner.registry import LOSSES

COUNTS = torch.tensor([4, 2, 1, 1])
LOGITS = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 0, 0, 0, 1, 1, 2, 3])


def loss(**values: Any) -> Focal:
    built: Focal = LOSSES.build("focal", values, class_counts=COUNTS)
    return built


def test_well_classified_sample_is_down_weighted() -> None:
    outputs, target = torch.tensor([[0.6, 0.3, 0.05, 0.05]]).log(), torch.tensor([0])
    torch.testing.assert_close(loss()(outputs, target), 0.16 * F.cross_entropy(outputs, target))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gamma_zero_equals_cross_entropy(reduction: str) -> None:
    found = loss(gamma=0.0, reduction=reduction)(LOGITS, TARGETS)
    assert torch.equal(found, F.cross_entropy(LOGITS, TARGETS, reduction=reduction))


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
@pytest.mark.parametrize("alpha", [None, [0.25, 0.5, 1.0, 2.0]])
def test_matches_equations_4_and_5(alpha: list[float] | None, gamma: float) -> None:
    p = LOGITS.softmax(1)[torch.arange(8), TARGETS]
    weights = torch.ones(8) if alpha is None else torch.tensor(alpha)[TARGETS]
    each = -weights * (1 - p) ** gamma * p.log()
    torch.testing.assert_close(loss(gamma=gamma, alpha=alpha, reduction="none")(LOGITS, TARGETS), each)
    torch.testing.assert_close(loss(gamma=gamma, alpha=alpha, reduction="sum")(LOGITS, TARGETS), each.sum())
    torch.testing.assert_close(loss(gamma=gamma, alpha=alpha)(LOGITS, TARGETS), each.mean())


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_gradient_is_finite_for_probability_one(gamma: float) -> None:
    outputs = torch.tensor([[100.0, 0.0, 0.0, 0.0]], requires_grad=True)
    loss(gamma=gamma)(outputs, torch.tensor([0])).backward()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()


def test_alpha_is_a_buffer() -> None:
    built = loss(alpha=[1.0, 2.0, 3.0, 4.0]).to("meta")
    assert built.alpha is not None
    assert built.alpha.device.type == "meta"
    assert list(built.parameters()) == []


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"gamma": -1.0}, "gamma must be at least 0, found -1.0"),
        ({"alpha": [1.0]}, "alpha has 1 values for 4 classes"),
    ],
)
def test_invalid_arguments_raise(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        loss(**values)
