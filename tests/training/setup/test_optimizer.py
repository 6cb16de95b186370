from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from runner.config.compose import compose_config
from runner.config.schema import Config
from runner.training.setup.optimizer import build_optimizer

Fp16 = Callable[..., tuple[nn.Module, Optimizer]]


def fp16(*overrides: str) -> tuple[nn.Module, Optimizer]:
    """Return a small model, and the optimizer that a run with fp16 would train it with."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))
    config: Config = compose_config(["trainer.precision=fp16", *overrides])
    return model, build_optimizer(config, model)


def train(model: nn.Module, optimizer: Optimizer, overflows: Sequence[bool]) -> list[Tensor]:
    """Train with the gradient scaler as the training loop does; return the weights and the optimizer's state."""
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, backoff_factor=1 / 1024)
    generator = torch.Generator().manual_seed(1)
    for overflow in overflows:
        loss = model(torch.randn(4, 3, 8, 8, generator=generator)).square().mean()
        scaler.scale(loss * float("inf") if overflow else loss).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    states = [optimizer.state[parameter] for parameter in model.parameters()]
    return [*model.parameters(), *(value for state in states for value in state.values())]


SGD, NESTEROV = ["optim=sgd", "optim.lr=0.1"], ["optim=sgd", "optim.nesterov=true", "optim.weight_decay=0.1"]
FUSED = [
    SGD,
    [*SGD, "optim.momentum=0"],
    [*SGD, "optim.momentum=0", "optim.dampening=0.5"],
    NESTEROV,
    ["optim=adam"],
    ["optim=adamw"],
    ["optim=adagrad", "optim.fused=true"],
]


@pytest.mark.parametrize("overrides", FUSED, ids=" ".join)
def test_fused_optimizer_skips_a_step_without_a_wait(overrides: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.amp.GradScaler, "_maybe_opt_step", None)  # which reads a value from the device
    for overflows in ([True, False, False], [False, True, False]):
        model, optimizer = fp16(*overrides)
        assert all(value.isfinite().all() for value in train(model, optimizer, overflows))


@pytest.mark.parametrize("overrides", [*FUSED, [*SGD, "optim.dampening=0.5"]], ids=" ".join)
@pytest.mark.parametrize("overflows", [[True, False, False], [False, True, True, False]])
def test_skipped_steps_are_as_in_the_optimizer_that_is_not_fused(overrides: list[str], overflows: list[bool]) -> None:
    fused, plain = (train(*fp16(*overrides, *extra), overflows) for extra in ([], ["optim.fused=null"]))
    for one, other in zip(fused, plain, strict=True):
        torch.testing.assert_close(one, other)


def test_momentum_of_fused_sgd_starts_as_in_torch() -> None:
    model, _ = fp16(*NESTEROV)
    torchs = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.1, fused=True)
    other, ours = fp16(*NESTEROV)
    for one, expected in zip(train(other, ours, [False] * 3), train(model, torchs, [False] * 3), strict=True):
        assert torch.equal(one, expected)


def test_scaler_skips_steps_of_fused_sgd_with_dampening() -> None:
    _, optimizer = fp16(*SGD, "optim.groups=[{match: '*.bias', dampening: 0.5}]")
    assert optimizer.param_groups[0]["fused"] is True
    assert optimizer._step_supports_amp_scaling is False  # type: ignore[attr-defined]


def test_scaler_skips_steps_if_a_checkpoint_is_from_an_optimizer_that_is_not_fused() -> None:
    (_, fused), (_, plain) = fp16(*SGD), fp16(*SGD, "optim.fused=null")
    assert fused._step_supports_amp_scaling is True  # type: ignore[attr-defined]
    fused.load_state_dict(plain.state_dict())
    assert fused._step_supports_amp_scaling is False  # type: ignore[attr-defined]


BOTH = ["optim=adam", "optim.groups=[{match: '*.weight', optimizer: sgd, lr: 0.1, momentum: 0.9, fused: true}]"]


@pytest.mark.parametrize("overrides", [SGD, ["optim=adam"], BOTH], ids=" ".join)
def test_checkpoint_of_a_model_in_another_memory_format_is_continued(overrides: list[str]) -> None:
    def resumed(memory_format: torch.memory_format) -> list[Tensor]:
        (model, optimizer), (again, other) = fp16(*overrides), fp16(*overrides)
        train(model, optimizer, [False, False])
        again.to(memory_format=memory_format)  # type: ignore[call-overload]  # missing in torch's stubs
        again.load_state_dict(model.state_dict())
        other.load_state_dict(optimizer.state_dict())
        return train(again, other, [False, False])

    for one, expected in zip(resumed(torch.channels_last), resumed(torch.contiguous_format), strict=True):
        torch.testing.assert_close(one, expected)
