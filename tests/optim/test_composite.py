import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Muon, Optimizer, lr_scheduler

from helpers import equal
from runner.optim.closure import needs_closure
from runner.optim.composite import Composite
from runner.optim.momentum import complete_momentum

Make = Callable[[nn.Sequential], list[Optimizer]]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


def muon_and_adamw(model: nn.Sequential) -> list[Optimizer]:
    matrices, vectors = ([p for p in model.parameters() if p.ndim == ndim] for ndim in (2, 1))
    return [Muon(matrices, lr=0.02), AdamW(vectors, lr=0.01, fused=True)]


def adagrad_and_sgd(model: nn.Sequential) -> list[Optimizer]:
    return [SGD(model[0].parameters(), lr=0.1, momentum=0.9, fused=True), Adagrad(model[2].parameters(), lr=0.05)]


def train(model: nn.Module, optimizers: Sequence[Optimizer], steps: range, schedulers: Sequence[Any] = ()) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for optimizer in optimizers:
            optimizer.zero_grad()
        model(torch.randn(16, 4, generator=generator)).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()
        for scheduler in schedulers:
            scheduler.step(1.0) if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) else scheduler.step()


SCHEDULERS: dict[str, Callable[[Optimizer], Any]] = {
    "constant": lambda o: lr_scheduler.ConstantLR(o, 1.0, 0),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 9),
    "one_cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.1, 9),
    "plateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1),
}


@pytest.mark.parametrize("schedule", SCHEDULERS)
def test_step_equals_separate_optimizers_and_schedulers_bit_for_bit(schedule: str) -> None:
    together, apart = network(), network()
    combined, separate = Composite(muon_and_adamw(together), [0, 1]), muon_and_adamw(apart)
    train(together, [combined], range(9), [SCHEDULERS[schedule](combined)])
    train(apart, separate, range(9), [SCHEDULERS[schedule](each) for each in separate])
    assert equal(dict(together.state_dict()), dict(apart.state_dict()))
    assert not equal(dict(together.state_dict()), dict(network().state_dict()))


@pytest.mark.parametrize("make", [muon_and_adamw, adagrad_and_sgd])
@pytest.mark.parametrize("schedule", sorted(SCHEDULERS.keys() - {"one_cycle"}))
def test_loaded_optimizer_continues_bit_for_bit(make: Make, schedule: str) -> None:
    whole = network()
    combined = Composite(make(whole), [1, 0])
    scheduler = SCHEDULERS[schedule](combined)
    train(whole, [combined], range(5), [scheduler])
    saved = copy.deepcopy([whole.state_dict(), combined.state_dict(), scheduler.state_dict()])
    train(whole, [combined], range(5, 9), [scheduler])

    resumed = network()
    again = Composite(make(resumed), [1, 0])
    rescheduled = SCHEDULERS[schedule](again)
    for part, state in zip((resumed, again, rescheduled), saved, strict=True):
        part.load_state_dict(state)
    train(resumed, [again], range(5, 9), [rescheduled])
    assert equal(dict(resumed.state_dict()), dict(whole.state_dict()))
    assert equal(again.state_dict(), combined.state_dict())


def test_one_cycle_is_resumed_with_its_momentum() -> None:
    saved: list[Any] = []
    for steps in (range(9), range(5), range(5, 9)):
        model = network()
        combined = Composite(muon_and_adamw(model), [0, 1])
        scheduler = SCHEDULERS["one_cycle"](combined)
        if steps.start:
            for part, state in zip((model, combined, scheduler), saved[-1], strict=True):
                part.load_state_dict(state)
        train(model, [combined], steps, [scheduler])
        saved.append(copy.deepcopy([model.state_dict(), combined.state_dict(), scheduler.state_dict()]))
    assert equal([dict(saved[2][0]), saved[2][1]], [dict(saved[0][0]), saved[0][1]])


def test_groups_keep_their_order_and_are_shared() -> None:
    a, b, c = (nn.Parameter(torch.ones(1)) for _ in range(3))
    sgd = SGD([{"params": [a], "lr": 0.5}, {"params": [c], "lr": 0.125}])
    combined = Composite([sgd, Adam([b], lr=0.25)], [0, 1, 0])
    for _ in range(2):
        assert [group["params"] for group in combined.param_groups] == [[a], [b], [c]]
        assert [group["lr"] for group in combined.param_groups] == [0.5, 0.25, 0.125]
        assert sgd.param_groups[1] is combined.param_groups[2]
        combined.load_state_dict(combined.state_dict())


def test_changed_learning_rate_takes_effect_after_loading() -> None:
    weight, other = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    combined = Composite([SGD([weight], lr=0.5), Adam([other])], [0, 1])
    combined.load_state_dict(combined.state_dict())
    combined.param_groups[0]["lr"] = 0.25
    weight.grad = torch.ones(1)
    combined.step()
    assert weight.item() == 0.75


def test_state_dict_has_the_format_of_one_optimizer() -> None:
    def trained(combine: bool) -> dict[str, Any]:
        model = network()
        groups: list[dict[str, Any]] = [{"params": list(model[i].parameters()), "lr": 0.1} for i in (0, 2)]
        one = Composite([Adam([group]) for group in groups], [0, 1]) if combine else Adam(groups)
        train(model, [one], range(3))
        return one.state_dict()

    assert equal(trained(combine=True), trained(combine=False))


def test_state_is_shared_before_and_after_loading() -> None:
    model = network()
    combined = Composite(adagrad_and_sgd(model), [0, 1])
    assert all("sum" in combined.state[p] for p in model[2].parameters())  # Adagrad starts with a state
    train(model, [combined], range(2))
    combined.load_state_dict(combined.state_dict())
    train(model, [combined], range(2))
    assert combined.state.keys() == set(model.parameters())
    assert all(optimizer.state is combined.state for optimizer in combined.optimizers)


def test_optimizer_can_adapt_its_own_loaded_state() -> None:
    class Doubling(SGD):
        def __setstate__(self, state: dict[str, Any]) -> None:
            super().__setstate__(state)  # type: ignore[no-untyped-call]
            for each in self.state.values():
                each["momentum_buffer"] *= 2

    weight, other = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    combined = Composite([Doubling([weight], momentum=0.5), SGD([other], momentum=0.5)], [0, 1])
    weight.grad, other.grad = torch.ones(1), torch.ones(1)
    combined.step()
    combined.load_state_dict(copy.deepcopy(combined.state_dict()))
    assert [combined.state[p]["momentum_buffer"].item() for p in (weight, other)] == [2, 1]


def test_hooks_are_called() -> None:
    weight, other = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    combined = Composite([SGD([weight]), Adam([other])], [0, 1])
    called: list[str] = []
    combined.register_step_pre_hook(lambda *_: called.append("before"))
    combined.register_step_post_hook(lambda *_: called.append("after"))
    combined.register_state_dict_post_hook(lambda *_: called.append("saved"))
    combined.register_load_state_dict_post_hook(lambda _: called.append("loaded"))
    combined.step()
    combined.load_state_dict(combined.state_dict())
    assert called == ["before", "after", "saved", "loaded"]


def test_zero_grad_clears_all_gradients() -> None:
    model = network()
    combined = Composite(muon_and_adamw(model), [0, 1])
    model(torch.ones(1, 4)).sum().backward()
    combined.zero_grad()
    assert [p.grad for p in model.parameters()] == [None] * 4


def test_closure_is_optional_and_evaluated_once() -> None:
    weight, other = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    combined = Composite([SGD([weight], lr=0.25), SGD([other], lr=0.5)], [0, 1])
    assert not needs_closure(combined)
    calls = []

    def closure() -> float:
        calls.append(1)
        loss = (weight * other).sum()
        loss.backward()
        return loss.item()

    assert combined.step(closure) == 1.0
    assert (len(calls), weight.item(), other.item()) == (1, 0.75, 0.5)


def test_gradient_scaler_skips_all_optimizers_or_none() -> None:
    model = network()
    combined, scaler = Composite(muon_and_adamw(model), [0, 1]), torch.amp.GradScaler("cpu")
    plain = network()
    train(plain, muon_and_adamw(plain), range(1))
    before = copy.deepcopy(model.state_dict())
    for factor in (float("inf"), 1.0):
        assert equal(dict(model.state_dict()), dict(before))
        combined.zero_grad()
        inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
        scaler.scale(model(inputs).square().mean() * factor).backward()
        scaler.unscale_(combined)
        scaler.step(combined)
        scaler.update()
    for scaled, unscaled in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(scaled, unscaled)


def test_momentum_is_cycled_only_if_all_optimizers_have_one() -> None:
    a, b = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(1))
    adams = Composite([AdamW([a]), Adam([b])], [0, 1])
    lr_scheduler.OneCycleLR(adams, 0.1, 9)
    assert [group["betas"] for group in adams.param_groups] == [(0.95, 0.999)] * 2
    assert all("momentum" not in group for group in adams.param_groups)
    with pytest.raises(ValueError, match="optimizer must support momentum or beta1"):
        lr_scheduler.OneCycleLR(Composite([AdamW([a]), Adagrad([b])], [0, 1]), 0.1, 9)


def test_common_parameters_are_rejected() -> None:
    weight = nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match="some parameters appear in more than one parameter group"):
        Composite([SGD([weight]), Adam([weight])], [0, 1])


def test_late_gradients_of_fused_sgd_are_allowed_after_loading() -> None:
    model = network()
    optimizers = adagrad_and_sgd(model)
    complete_momentum(optimizers[0])
    combined = Composite(optimizers, [0, 1])
    for used in (["weight"], ["weight", "bias"]):
        for name, parameter in model[0].named_parameters():
            parameter.grad = torch.ones_like(parameter) if name in used else None
        combined.step()
        combined.load_state_dict(combined.state_dict())
    assert torch.equal(combined.state[model.get_parameter("0.bias")]["momentum_buffer"], torch.ones(8))
