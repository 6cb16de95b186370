from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from runner.optim.momentum import complete_momentum, skips_on_device


@pytest.mark.parametrize(
    "values", [{}, {"weight_decay": 0.1, "dampening": 0.3}, {"maximize": True}, {"nesterov": True}]
)
def test_fused_sgd_with_late_gradients_equals_plain_sgd(values: dict[str, float]) -> None:
    def trained(fused: bool | None) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=fused, **values)  # type: ignore[arg-type]
        complete_momentum(optimizer)
        for step in range(7):
            inputs = torch.randn(4, 3)
            outputs = model[0](inputs) + (model[1](inputs) if step in (3, 4, 6) else 0)
            optimizer.zero_grad()
            outputs.square().mean().backward()
            optimizer.step()
        assert len(optimizer._optimizer_step_pre_hooks) == 0
        return list(model.parameters())

    for fused, plain in zip(trained(True), trained(None), strict=True):
        torch.testing.assert_close(fused, plain)


@pytest.mark.parametrize(("device", "expected"), [("cuda", True), ("cpu", True), ("mps", False)])
def test_fused_kernels_for_mps_do_not_skip(device: str, expected: bool) -> None:
    group = {"fused": True, "params": [SimpleNamespace(device=torch.device(device))]}
    adam: Any = SimpleNamespace(_step_supports_amp_scaling=True, param_groups=[group])
    assert skips_on_device(adam) is expected
