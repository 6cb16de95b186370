import copy

import pytest
import torch
from torch import nn

from runner.loss.standardized import InUnitOfTargets, Standardized


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gradient_equals_that_of_standardized_targets(reduction: str) -> None:
    inputs, targets = torch.randn(8, 3), 3e5 + 1e5 * torch.randn(8, 1)
    plain = nn.Linear(3, 1)
    model = copy.deepcopy(plain)
    model.register_forward_hook(InUnitOfTargets(3e5, 1e5))
    loss = Standardized(nn.MSELoss(reduction=reduction), 3e5, 1e5)
    assert loss.reduction == reduction
    loss(model(inputs), targets).mean().backward()
    nn.MSELoss(reduction=reduction)(plain(inputs), (targets - 3e5) / 1e5).mean().backward()
    for own, its in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own.grad, its.grad, rtol=1e-4, atol=1e-6)
    assert model.state_dict().keys() == plain.state_dict().keys()


def test_copied_model_returns_outputs_in_the_same_unit() -> None:
    model = nn.Linear(3, 1)
    model.register_forward_hook(InUnitOfTargets(3e5, 1e5))
    inputs = torch.randn(4, 3)
    assert torch.equal(copy.deepcopy(model)(inputs), model(inputs))
    assert model(inputs).min() > 1e4
