from typing import Any

import pytest
import torch
import torch.nn.functional as F

from runner.loss.cross_entropy import class_weights
from runner.registry import LOSSES

COUNTS = torch.tensor([4, 2, 1, 1])
LOGITS = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 0, 0, 0, 1, 1, 2, 3])


def loss(**values: Any) -> torch.nn.CrossEntropyLoss:
    built: torch.nn.CrossEntropyLoss = LOSSES.build("cross_entropy", values, class_counts=COUNTS)
    return built


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weight", [None, [1.0, 10.0, 100.0, 100.0]])
def test_equals_torch(weight: list[float] | None, reduction: str) -> None:
    torchs = F.cross_entropy(LOGITS, TARGETS, None if weight is None else torch.tensor(weight), reduction=reduction)
    assert torch.equal(loss(weight=weight, reduction=reduction)(LOGITS, TARGETS), torchs)


def test_sum_weights_each_sample_by_its_class() -> None:
    each = -LOGITS.log_softmax(1)[torch.arange(8), TARGETS]
    weights = torch.tensor([1.0, 1, 1, 1, 10, 10, 100, 100])
    found = loss(weight=[1.0, 10.0, 100.0, 100.0], reduction="sum")(LOGITS, TARGETS)
    torch.testing.assert_close(found, (weights * each).sum())


def test_mean_divides_by_sum_of_weights() -> None:
    weight = [1.0, 10.0, 100.0, 100.0]
    total = loss(weight=weight, reduction="sum")(LOGITS, TARGETS)
    torch.testing.assert_close(loss(weight=weight)(LOGITS, TARGETS), total / (4 * 1 + 2 * 10 + 100 + 100))


def test_label_smoothing_and_ignore_index_equal_torch() -> None:
    found = loss(label_smoothing=0.1, ignore_index=3)(LOGITS, TARGETS)
    assert torch.equal(found, F.cross_entropy(LOGITS, TARGETS, label_smoothing=0.1, ignore_index=3))


def test_balanced_weights_equalize_total_class_weight() -> None:
    weights = class_weights("balanced", COUNTS)
    assert weights is not None
    assert weights.tolist() == [0.5, 1.0, 2.0, 2.0]
    assert (weights * COUNTS).tolist() == [2.0] * 4
    torch.testing.assert_close(loss(weight="balanced").weight, weights)


def test_class_without_samples_has_finite_weight() -> None:
    weights = class_weights("balanced", torch.tensor([3, 0]))
    assert weights is not None
    assert weights.isfinite().all()


@pytest.mark.parametrize("weight", [[], [1.0, 2.0, 3.0], [1.0] * 5])
def test_wrong_number_of_weights_raises(weight: list[float]) -> None:
    with pytest.raises(ValueError, match=f"weight has {len(weight)} values for 4 classes"):
        loss(weight=weight)


def test_weights_are_on_the_device_of_the_counts() -> None:
    for weight in ([1.0, 2.0], "balanced"):
        found = class_weights(weight, torch.ones(2, device="meta"))
        assert found is not None
        assert found.device.type == "meta"
