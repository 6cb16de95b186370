from collections.abc import Callable

import pytest
import torch
from torch import nn

from runner.config.compose import compose_config
from runner.config.schema import Config
from runner.data.sources import InMemory, Streamed
from runner.dataset.base import Pool, Samples
from runner.errors import ConfigError, DataError
from runner.loss.one_hot import OneHot
from runner.machine.distributed import ALONE, World
from runner.training.build import build
from runner.training.optimizer import parameter_groups


def test_initial_weights_depend_only_on_the_seed(tiny: Callable[..., Config]) -> None:
    torch.manual_seed(99)
    one, same, other = (build(tiny(*overrides)) for overrides in (["dataset.size=8"], ["optim=adam"], ["seed=1"]))
    first = next(iter(one.model.parameters()))
    assert torch.equal(first, next(iter(same.model.parameters())))
    assert not torch.equal(first, next(iter(other.model.parameters())))


def test_ranks_differ_only_in_their_random_numbers(tiny: Callable[..., Config]) -> None:
    weights, seeds = [], []
    for world in (ALONE, World(0, 2), World(1, 2)):
        weights.append(next(iter(build(tiny(), world).model.parameters())))
        seeds.append(torch.initial_seed())
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])
    assert seeds[0] == seeds[1] != seeds[2]


def test_in_memory_selects_the_source(tiny: Callable[..., Config]) -> None:
    assert isinstance(build(tiny()).train.source, InMemory)
    assert isinstance(build(tiny("dataset.in_memory=false")).train.source, Streamed)


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


def test_groups_may_match_all_parameters() -> None:
    model = torch.nn.Linear(2, 2)
    assert len(parameter_groups(model, [{"match": "*"}])) == 1


def test_pattern_without_matches_is_rejected() -> None:
    with pytest.raises(ConfigError, match=r"groups\[0\].match: '\*.W' matches none of the parameters weight, bias"):
        parameter_groups(torch.nn.Linear(2, 2), [{"match": "*.W"}])


def test_frozen_parameters_are_not_trained() -> None:
    model = torch.nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    assert [group["params"] for group in parameter_groups(model, [])] == [[model.weight]]


def test_value_loss_gets_one_hot_targets_in_classification(tiny: Callable[..., Config]) -> None:
    parts = build(tiny("loss=mse"))
    assert isinstance(parts.loss, OneHot)
    loss = parts.loss(torch.eye(10), torch.arange(10))
    assert loss == 0
    assert parts.reduction == "mean"


def test_balanced_class_weights_come_from_the_training_split(tiny: Callable[..., Config]) -> None:
    parts = build(tiny("loss.weight=balanced"))
    counts = parts.train.source.targets.bincount()  # type: ignore[attr-defined]
    torch.testing.assert_close(parts.loss.weight * counts, torch.full((10,), len(parts.train.source) / 10))


@pytest.mark.parametrize(
    ("overrides", "channels_last"),
    [
        (["model=lenet"], True),
        (["model=lenet", "optim=lbfgs"], False),
        (["model=lenet", "trainer.channels_last=false"], False),
        (["model=torchvision", "model.arch=resnet18"], False),
        (["model=torchvision", "model.arch=resnet18", "trainer.channels_last=true"], True),
    ],
)
def test_memory_format_depends_on_model_optimizer_and_config(overrides: list[str], channels_last: bool) -> None:
    model = build(compose_config([*overrides, "dataset.size=32"])).model
    convolutions = [
        layer.weight
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d) and layer.kernel_size[0] > 1 < layer.in_channels
    ]
    assert {weight.is_contiguous(memory_format=torch.channels_last) for weight in convolutions} == {channels_last}


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_fused_optimizers_are_not_used_with_fp16(tiny: Callable[..., Config], name: str) -> None:
    parts = build(tiny(f"optim={name}", "trainer.precision=fp16"))
    assert parts.optimizer.param_groups[0]["fused"] is None
    assert build(tiny(f"optim={name}")).optimizer.param_groups[0]["fused"] is True


def test_targets_of_the_wrong_shape_are_rejected(tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(Samples(torch.rand(20, 1), torch.rand(20)))
    monkeypatch.setattr("runner.dataset.line.Line.load", lambda self: pool)
    with pytest.raises(DataError, match=r"dataset=line: targets of shape \(\d+,\), expected \[N, 1\]"):
        build(compose_config(["experiment=line"]))


def test_parameter_may_receive_its_first_gradient_in_a_later_step(tiny: Callable[..., Config]) -> None:
    parts = build(tiny())
    parameters = list(parts.model.parameters())
    assert parts.optimizer.param_groups[0]["fused"] is True
    for late in (1, 0):
        parts.optimizer.zero_grad()
        for parameter in parameters[late:]:
            parameter.grad = torch.ones_like(parameter)
        parts.optimizer.step()
    assert all("momentum_buffer" in parts.optimizer.state[parameter] for parameter in parameters)
