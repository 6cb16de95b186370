import torch
from torch import nn

from runner.optim import TORCH
from runner.optim.closure import needs_closure


def test_only_lbfgs_needs_a_closure() -> None:
    made = {name: optimizer([nn.Parameter(torch.ones(2, 2))]) for name, optimizer in TORCH.items()}  # type: ignore[call-arg]
    assert {name for name, optimizer in made.items() if needs_closure(optimizer)} == {"lbfgs"}


def test_detects_closure_when_a_scheduler_wraps_step() -> None:
    optimizer = torch.optim.LBFGS([nn.Parameter(torch.ones(1))])
    torch.optim.lr_scheduler.ConstantLR(optimizer)
    assert needs_closure(optimizer)


def test_step_without_closure_argument_needs_none() -> None:
    class Plain(torch.optim.Optimizer):
        def step(self) -> None:  # type: ignore[override]
            pass

    assert not needs_closure(Plain([nn.Parameter(torch.ones(1))], {}))
