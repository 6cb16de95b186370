from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from helpers import checkpoint, equal
from runner.config.compose import compose_config
from runner.config.schema import Config, Optim
from runner.errors import ConfigError
from runner.machine.distributed import ALONE
from runner.machine.signals import Stop
from runner.optim.composite import Composite
from runner.registry import OPTIMIZERS
from runner.tracking.tracker import NullTracker
from runner.training.checks.check import check
from runner.training.loop import fit
from runner.training.parts import Parts
from runner.training.saving.checkpoint import Checkpoints, Snapshot, load_checkpoint
from runner.training.saving.resume import assemble
from runner.training.setup.build import build
from runner.training.setup.groups import assign
from runner.training.setup.optimizer import build_optimizer
from runner.training.trainer import Trainer

LENET = ["optim=muon", "trainer.epochs=null", "trainer.max_steps=2", "trainer.checkpoint.every_steps=1"]


def optim(*groups: dict[str, Any], name: str = "sgd") -> Optim:
    return Optim(name=name, groups=list(groups))


def owners(parts: Parts) -> list[tuple[list[str], str]]:
    """Return the parameter names and the optimizer's class of each group."""
    names = {parameter: name for name, parameter in parts.model.named_parameters()}
    optimizer, found = parts.optimizer, []
    for group in optimizer.param_groups:
        every = optimizer.optimizers if isinstance(optimizer, Composite) else (optimizer,)
        (owner,) = (each for each in every if any(own is group for own in each.param_groups))
        found.append(([names[p] for p in group["params"]], type(owner).__name__))
    return found


def test_first_matching_group_takes_a_parameter(tiny: Callable[..., Config]) -> None:
    parts = build(tiny("optim.groups=[{match: '*.bias', lr: 0.5, momentum: 0}, {match: '1.*', lr: 0.25}]"))
    names = {id(parameter): name for name, parameter in parts.model.named_parameters()}
    found = [
        ([names[id(p)] for p in group["params"]], group["lr"], group["momentum"])
        for group in parts.optimizer.param_groups
    ]
    assert found == [
        (["1.bias", "3.bias"], 0.5, 0),
        (["1.weight"], 0.25, 0.9),
        (["3.weight"], 0.01, 0.9),
    ]


@pytest.mark.parametrize(
    ("group", "taken"),
    [
        ({"ndim": 1}, ["0.bias", "1.bias"]),
        ({"ndim": [2, 4]}, ["0.weight", "1.weight"]),
        ({"match": "1.*", "ndim": [1, 2]}, ["1.weight", "1.bias"]),
    ],
)
def test_group_may_require_a_number_of_dimensions(group: dict[str, Any], taken: list[str]) -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Linear(2, 2))
    (_, params), *_ = assign(optim(group), model)
    names = {parameter: name for name, parameter in model.named_parameters()}
    assert [names[p] for p in params] == taken


def test_only_a_group_for_the_rest_may_match_nothing() -> None:
    groups: list[dict[str, Any]] = [{"match": "*"}, {"match": "*"}]
    assert len(assign(optim(*groups), nn.Linear(2, 2))) == 1
    with pytest.raises(
        ConfigError, match=r"groups\[1\].match: '\?\*' matches none of the parameters \(none are left\)"
    ):
        assign(optim({"match": "*"}, {"match": "?*"}), nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("group", "problem"),
    [
        ({"match": "*.W"}, r"groups\[0\].match: '\*.W' matches none of the parameters weight \(2D\), bias \(1D\)"),
        ({"ndim": [3, 4]}, r"groups\[0\]: match '\*' with ndim 3 or 4 matches none of the parameters weight \(2D\)"),
        ({"match": "bias", "ndim": 2}, r"groups\[0\]: match 'bias' with ndim 2 matches none of the parameters"),
    ],
)
def test_group_without_matches_is_rejected(group: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        assign(optim(group), nn.Linear(2, 2))


def test_frozen_parameters_are_not_trained() -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    assert [params for _, params in assign(optim(), model)] == [[model.weight]]


def test_one_optimizer_in_all_groups_stays_a_plain_optimizer(tiny: Callable[..., Config]) -> None:
    parts = build(tiny("optim.groups=[{match: '*.bias', optimizer: sgd, lr: 0.5}]"))
    assert type(parts.optimizer) is torch.optim.SGD
    assert [(group["lr"], group["momentum"]) for group in parts.optimizer.param_groups] == [(0.5, 0.9), (0.01, 0.9)]
    assert all("optimizer" not in group for group in parts.optimizer.param_groups)


def test_group_with_another_optimizer_inherits_nothing(tiny: Callable[..., Config]) -> None:
    groups = "[{match: '3.*', lr: 0.5}, {ndim: 1, optimizer: adam, betas: [0.5, 0.9]}]"
    parts = build(tiny("optim=sgd", "optim.lr=0.2", "optim.weight_decay=0.1", f"optim.groups={groups}"))
    assert owners(parts) == [(["3.weight", "3.bias"], "SGD"), (["1.bias"], "Adam"), (["1.weight"], "SGD")]
    last, adam, rest = parts.optimizer.param_groups
    assert (last["lr"], last["weight_decay"], last["optimizer"]) == (0.5, 0.1, "sgd")
    assert (rest["lr"], rest["weight_decay"]) == (0.2, 0.1)
    assert (adam["lr"], adam["weight_decay"], adam["betas"], adam["fused"]) == (0.001, 0, (0.5, 0.9), None)


def test_muon_takes_the_matrices_of_lenet_at_the_rate_of_optim() -> None:
    parts = build(compose_config(["optim=muon", "optim.lr=0.25"]))
    matrices, others = owners(parts)
    assert matrices == ([f"{layer}.weight" for layer in ("fc1", "fc2", "fc3")], "Muon")
    assert others[1] == "AdamW"
    assert {"conv1.weight", "conv2.weight", "fc3.bias"} < set(others[0])
    assert [group["lr"] for group in parts.optimizer.param_groups] == [0.25, 0.001]


def test_muon_alone_trains_a_model_of_matrices(tiny: Callable[..., Config]) -> None:
    optimizer = build_optimizer(tiny("optim=muon"), nn.Linear(2, 2, bias=False))
    assert type(optimizer) is torch.optim.Muon


def run(config: Config, folder: Path, saved: Snapshot | None = None) -> dict[str, Any]:
    """Train to the end of the run, and return its last checkpoint."""
    parts, state = assemble(config, ALONE, saved)
    checkpoints = Checkpoints(folder / "checkpoints", keep_last=2)
    checkpoints.folder.mkdir(parents=True)
    fit(Trainer(parts, state, NullTracker(), checkpoints, Stop()))
    return checkpoint(folder)


@pytest.mark.parametrize(
    "variant",
    [
        ["scheduler=cosine", "trainer.clip_norm=1"],
        ["scheduler=one_cycle", "scheduler.max_lr=[0.02, 0.001]", "trainer.max_steps=4"],
        ["scheduler=plateau", "trainer.validate_every='1 step'"],
        ["trainer.precision=fp16"],
        ["trainer.precision=bf16"],
    ],
)
def test_lenet_trained_with_muon_resumes_bit_for_bit(tmp_path: Path, variant: list[str]) -> None:
    config = compose_config([*LENET, *variant, "device.threads=1"])
    check(config)
    whole = run(config, tmp_path)
    saved = load_checkpoint(tmp_path / "checkpoints" / f"step-{whole['step'] - 1:09d}.pt")
    assert not equal(saved["model"], whole["model"])
    assert len(saved["optimizer"]["state"]) == 10
    resumed = run(config, tmp_path / "resumed", saved)
    assert resumed["step"] == whole["step"] >= 2
    assert equal(resumed, whole)


def test_extended_one_cycle_run_continues_with_the_momentum_of_the_longer_cycle(tmp_path: Path) -> None:
    values = [*LENET, "scheduler=one_cycle", "device.threads=1"]
    run(compose_config(values), tmp_path)
    saved = load_checkpoint(tmp_path / "checkpoints" / "last.pt")
    fresh, _ = assemble(compose_config([*values, "trainer.max_steps=9"]), ALONE, None)
    for _ in range(2):
        fresh.optimizer.step()
        fresh.scheduler.step()
    resumed, _ = assemble(compose_config([*values, "trainer.max_steps=9"]), ALONE, saved)
    for parts in (fresh, resumed):
        parts.optimizer.zero_grad()
        parts.optimizer.step()  # passes the momentum on to AdamW
    for key, own in (("lr", 0), ("momentum", 0), ("lr", 1), ("betas", 1)):
        found = resumed.optimizer.param_groups[own][key]
        assert found == fresh.optimizer.param_groups[own][key]
        assert found != saved["optimizer"]["param_groups"][own][key]


@pytest.mark.parametrize(
    "overrides",
    [
        ["optim=adam", "optim.groups=[{match: '1.*', optimizer: sgd, momentum: 0.9, fused: true}]"],
        ["optim=sgd", "optim.groups=[{match: '3.*', optimizer: adam}]"],
        ["optim=sgd"],
    ],
)
def test_late_gradients_of_fused_sgd_are_allowed(tiny: Callable[..., Config], overrides: list[str]) -> None:
    parts = build(tiny(*overrides))
    for used in (["1.weight"], ["1.weight", "1.bias"]):
        for name, parameter in parts.model.named_parameters():
            parameter.grad = torch.ones_like(parameter) if name in used else None
        parts.optimizer.step()
    late = parts.model.get_parameter("1.bias")
    assert torch.equal(parts.optimizer.state[late]["momentum_buffer"], torch.ones(16))


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["optim.groups=[{optimizer: adam}]"], "optim.groups[0].match: needs a pattern for parameter names"),
        (["optim.groups=[{match: 3}]"], "optim.groups[0].match: found 3; needs a pattern for parameter names"),
        (["optim.groups=[{ndim: '2'}]"], "optim.groups[0].ndim: found '2'; needs a number of dimensions, such as 2"),
        (["optim.groups=[{ndim: true}]"], "optim.groups[0].ndim: found True; needs a number of dimensions"),
        (["optim.groups=[{ndim: [1, -1]}]"], "optim.groups[0].ndim: found [1, -1]; needs a number of dimensions"),
        (["optim.groups=[{ndim: []}]"], "optim.groups[0].ndim: found []; needs a number of dimensions"),
        (
            ["optim.groups=[{ndim: 7}]"],
            "optim.groups[0]: match '*' with ndim 7 matches none of the parameters 1.weight",
        ),
        (["optim.groups=[{ndim: 1, optimizer: adamm}]"], "optim.groups[0].optimizer: found 'adamm'; allowed: "),
        (["optim.groups=[{ndim: 1, optimizer: adamm}]"], "Did you mean adam?"),
        (["optim.groups=[{ndim: 1, optimizer: 3}]"], "optim.groups[0].optimizer: found 3; allowed: "),
        (["optim.groups=[{ndim: 1, optimiser: adam}]"], "optim.groups[0].optimiser: no such key; allowed: "),
        (["optim.groups=[{ndim: 1, optimiser: adam}]"], "Did you mean optimizer?"),
        (
            ["optim.groups=[{ndim: 1, optimizer: adam, momentum: 0}]"],
            "optim.groups[0].momentum: no such key; allowed: ",
        ),
        (
            ["optim.groups=[{ndim: 1, optimizer: adam, lr: a}]"],
            "optim.groups[0].lr: found 'a'; Input should be a valid",
        ),
        (["optim.groups=[{ndim: 1, optimizer: adam, lr: -1}]"], "optim.groups[0]: Invalid learning rate: -1"),
        (["optim.groups=[{ndim: 1, optimizer: muon}]"], "optim.groups[0]: Muon only supports 2D parameters"),
        (["optim.groups=[{ndim: 1, lr: -1}]"], "optim.groups[0]: Invalid learning rate: -1"),
        (
            ["optim.groups=[{ndim: 1, optimizer: lbfgs}]"],
            "optim.groups[0].optimizer: found 'lbfgs', which evaluates the loss several times per step and cannot be",
        ),
        (
            ["optim=lbfgs", "optim.groups=[{ndim: 1, optimizer: adam}]"],
            "optim.name: found 'lbfgs', which evaluates the loss several times per step and cannot be combined",
        ),
        (
            ["optim.groups=[{ndim: 1, optimizer: adam}, {match: '*', optimizer: muon}]"],
            "optim=sgd: has no parameters, as optim.groups leaves all of them to adam, muon",
        ),
    ],
)
def test_invalid_group_is_reported_by_key(tiny: Callable[..., Config], overrides: list[str], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(tiny(*overrides))
    assert any(problem in line for line in caught.value.problems)


def test_problems_of_all_groups_are_reported_together(tiny: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError) as caught:
        check(tiny("optim.groups=[{ndim: a, optimizer: b}, {match: '*', lrr: 1, momentumm: 1}]"))
    assert [line.split(":")[0] for line in caught.value.problems] == [
        "optim.groups[0].ndim",
        "optim.groups[0].optimizer",
        "optim.groups[1].lrr",
        "optim.groups[1].momentumm",
    ]


@pytest.mark.usefixtures("workdir")  # it removes the optimizers that are registered here
def test_value_without_default_must_be_given(tiny: Callable[..., Config]) -> None:
    @OPTIMIZERS.register("strict")
    class Strict(torch.optim.SGD):
        def __init__(self, params: Any, lr: float) -> None:
            super().__init__(params, lr)

    with pytest.raises(ConfigError, match=r"^optim.groups\[0\].lr: missing, needed by strict$"):
        check(tiny("optim.groups=[{ndim: 1, optimizer: strict}]"))
    check(tiny("optim.groups=[{ndim: 1, optimizer: strict, lr: 1}]"))


@pytest.mark.usefixtures("workdir")
def test_optimizer_that_saves_more_than_a_state_is_not_combined(tiny: Callable[..., Config]) -> None:
    @OPTIMIZERS.register("counting")
    class Counting(torch.optim.SGD):
        def state_dict(self) -> dict[str, Any]:
            return {**super().state_dict(), "count": 1}

    with pytest.raises(ConfigError, match=r"optim.groups\[0\].optimizer: found 'counting', which has a state_dict or "):
        check(tiny("optim.groups=[{ndim: 1, optimizer: counting}]"))
