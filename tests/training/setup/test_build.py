from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from helpers import equal
from runner.config.compose import compose_config
from runner.config.schema import Config
from runner.data.sources import InMemory
from runner.data.streamed import Streamed
from runner.dataset.base import Pool, Samples
from runner.errors import DataError
from runner.loss.one_hot import OneHot
from runner.machine.distributed import ALONE, World
from runner.training.engine import DataParallel, Engine
from runner.training.setup import build as build_module
from runner.training.setup.build import build, prepare_device
from runner.training.sharded import Sharded


def test_initial_weights_depend_only_on_the_seed(tiny: Callable[..., Config]) -> None:
    torch.manual_seed(99)
    one, same, other = (build(tiny(*overrides)) for overrides in (["dataset.size=8"], ["optim=adam"], ["seed=1"]))
    first = next(iter(one.model.parameters()))
    assert torch.equal(first, next(iter(same.model.parameters())))
    assert not torch.equal(first, next(iter(other.model.parameters())))


def test_ranks_differ_only_in_their_random_numbers(
    on_ranks: Callable[..., list[Any]], tiny: Callable[..., Config]
) -> None:
    def weights_and_seed(world: World) -> tuple[dict[str, Any], int]:
        return dict(build(tiny(), world).model.state_dict()), torch.initial_seed()

    alone, (first, second) = weights_and_seed(ALONE), on_ranks(weights_and_seed)
    assert equal(first[0], alone[0])
    assert equal(second[0], alone[0])
    assert first[1] == alone[1] != second[1]


@pytest.mark.parametrize("is_sharded", [False, True])
def test_weights_and_buffers_of_all_ranks_are_those_of_the_first(
    on_ranks: Callable[..., list[Any]], tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, is_sharded: bool
) -> None:
    def weights(world: World) -> dict[str, Any]:
        world.is_sharded = is_sharded

        def of_rank(*arguments: Any) -> nn.Module:  # as processors differ in the random numbers that they draw
            return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10)).apply(fill(world.rank))

        monkeypatch.setattr(build_module, "build_model", of_rank)
        return dict(build(tiny(), world).model.state_dict())

    def fill(value: float) -> Callable[[nn.Module], None]:
        def set_values(module: nn.Module) -> None:
            for tensor in [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
                tensor.data.fill_(value)

        return set_values

    for found in on_ranks(weights):
        assert {tensor.abs().max().item() for tensor in found.values()} == {0}


@pytest.mark.parametrize(("size", "shards", "engine"), [(2, 1, DataParallel), (2, 2, Sharded), (1, 2, Sharded)])
def test_engine_depends_on_world_size_and_shards(
    on_ranks: Callable[..., list[Any]], tiny: Callable[..., Config], size: int, shards: int, engine: type[Engine]
) -> None:
    def kind(world: World) -> str:
        world.shards, world.is_sharded = max(size, shards), shards > 1
        return type(build(tiny(), world).engine).__name__

    assert on_ranks(kind, size) == [engine.__name__] * size


def test_in_memory_selects_the_source(tiny: Callable[..., Config]) -> None:
    assert isinstance(build(tiny()).train.source, InMemory)
    assert isinstance(build(tiny("dataset.in_memory=false")).train.source, Streamed)


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
        (["model=torchvision", "model.arch=resnet18", "device=cpu"], False),
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


@pytest.mark.parametrize("name", ["val", "test"])
def test_split_without_samples_is_rejected_with_the_key_to_change(tiny: Callable[..., Config], name: str) -> None:
    with pytest.raises(DataError, match=rf"samples leave none for the {name} split; set a larger dataset.{name}_share"):
        build(tiny(f"dataset.{name}_share=0.0001"))


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


def test_gpu_of_the_run_becomes_the_current_one(tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[torch.device] = []
    monkeypatch.setattr(build_module, "resolve", lambda name: torch.device(name))
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(build_module, "benchmark_cudnn", lambda device, enabled: None)
    assert prepare_device(tiny("device.name=cuda:1", "device.deterministic=false")) == torch.device("cuda:1")
    assert chosen == [torch.device("cuda:1")]


@pytest.mark.parametrize("compiles", [False, True, "reduce-overhead"])
def test_determinism_knows_whether_the_model_is_compiled(
    tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, compiles: bool | str
) -> None:
    chosen: list[bool] = []
    monkeypatch.setattr(build_module, "make_deterministic", lambda device, compiles: chosen.append(compiles))
    prepare_device(tiny("device=cpu", f"trainer.compile={compiles}"))
    assert chosen == [compiles is not False]


@pytest.mark.parametrize(
    ("mode", "passed"), [("false", []), ("true", ["default"]), ("reduce-overhead", ["reduce-overhead"])]
)
def test_model_is_compiled_in_the_mode(
    tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, mode: str, passed: list[str]
) -> None:
    modes: list[str] = []

    def compile_in(model: nn.Module, mode: str) -> nn.Module:
        modes.append(mode)
        return model

    monkeypatch.setattr(torch, "compile", compile_in)
    build(tiny(f"trainer.compile={mode}"))
    assert modes == passed


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], False),
        (["device.deterministic=false"], True),
        (["device.deterministic=false", "device.cudnn_benchmark=false"], False),
        (["device.deterministic=false", "device.cudnn_benchmark=true"], True),
        (["device.cudnn_benchmark=false"], False),
    ],
)
def test_cudnn_is_benchmarked_unless_the_run_is_deterministic(
    tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, overrides: list[str], expected: bool
) -> None:
    chosen: list[bool] = []
    monkeypatch.setattr(build_module, "benchmark_cudnn", lambda device, enabled: chosen.append(enabled))
    prepare_device(tiny("device=cpu", *overrides))
    assert chosen == [expected]
