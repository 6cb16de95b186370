import pytest
import torch
from torch import nn

from runner.optim.late import allow_late_gradients


@pytest.mark.parametrize(
    "values", [{}, {"weight_decay": 0.1, "dampening": 0.3}, {"maximize": True}, {"nesterov": True}]
)
def test_fused_sgd_with_late_gradients_equals_plain_sgd(values: dict[str, float]) -> None:
    def trained(fused: bool | None) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=fused, **values)  # type: ignore[arg-type]
        allow_late_gradients(optimizer)
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
