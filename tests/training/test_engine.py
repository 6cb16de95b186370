import importlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from runner.machine.distributed import World
from runner.training.engine import DataParallel, Engine

OnRanks = Callable[..., list[Any]]
CHUNKS = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 5.0]])]  # inputs of the two ranks


@pytest.fixture(autouse=True, scope="module")
def _import_once() -> None:
    """Import what DistributedDataParallel needs, which takes a second, before the processes are forked."""
    importlib.import_module("torch._dynamo").config  # noqa: B018  # the module may be runner.speed.dynamo's stand-in


class Branches(nn.Module):
    """A model whose layers are used only on some ranks or in some calls."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.first, self.unused = (nn.Linear(2, 1, bias=False) for _ in range(3))
        self.frozen = nn.Linear(2, 1, bias=False).requires_grad_(False)

    def forward(self, inputs: Tensor, uses_first: bool) -> Tensor:
        outputs: Tensor = self.shared(inputs) + self.frozen(inputs)
        return outputs + self.first(inputs) if uses_first else outputs


def grads(model: nn.Module) -> dict[str, Tensor | None]:
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def train_step(engine: Engine, batches: Sequence[Any], *flags: bool) -> None:
    """Make the forward and backward passes of a step, with a loss that is summed over the ranks."""
    for (inputs, _), flag in zip(engine.micro_batches([(batch, None) for batch in batches], 0), flags, strict=True):
        (engine.forward(inputs, flag).sum() * engine.gradient_scale).backward()
    engine.combine_gradients()


def test_parameter_that_only_one_rank_uses_gets_its_gradient_on_all(on_ranks: OnRanks) -> None:
    def step(world: World) -> dict[str, Tensor | None]:
        model = Branches()
        train_step(DataParallel(model, world, True), [CHUNKS[world.rank]], world.rank == 1)
        return grads(model)

    for found in on_ranks(step):
        assert found["shared.weight"].tolist() == [[4, 7]]
        assert found["first.weight"].tolist() == [[3, 5]]


def test_parameter_that_no_rank_uses_has_no_gradient(on_ranks: OnRanks) -> None:
    def step(world: World) -> list[dict[str, Tensor | None]]:
        model = Branches()
        engine, found = DataParallel(model, world, True), []
        for uses_first in (False, True, False):
            train_step(engine, [CHUNKS[world.rank]], uses_first)
            found.append(grads(model))
            model.zero_grad()
        return found

    for steps in on_ranks(step):
        assert [each["unused.weight"] for each in steps] == [None] * 3
        assert [each["frozen.weight"] for each in steps] == [None] * 3
        assert [each["first.weight"] is None for each in steps] == [True, False, True]


def test_accumulation_exchanges_gradients_only_in_the_last_micro_batch(on_ranks: OnRanks) -> None:
    def step(world: World) -> list[list[float]]:
        model, found = Branches(), []
        engine = DataParallel(model, world, True)
        for inputs, _ in engine.micro_batches(iter([(CHUNKS[world.rank], None)] * 3), 0):
            (engine.forward(inputs, False).sum() * engine.gradient_scale).backward()
            found.append(model.shared.weight.grad.flatten().tolist())  # type: ignore[union-attr]
        return found

    scaled = [(2 * chunk).flatten() for chunk in CHUNKS]  # each rank's own gradient, which counts double until then
    assert on_ranks(step) == [[own.tolist(), (2 * own).tolist(), [12, 21]] for own in scaled]


def test_parameter_used_only_in_an_earlier_micro_batch_keeps_its_gradient(on_ranks: OnRanks) -> None:
    def step(world: World) -> dict[str, Tensor | None]:
        model = Branches()
        train_step(DataParallel(model, world, True), [CHUNKS[world.rank]] * 2, True, False)
        return grads(model)

    for found in on_ranks(step):
        assert found["first.weight"].tolist() == [[4, 7]]
        assert found["shared.weight"].tolist() == [[8, 14]]
        assert found["unused.weight"] is None


class Mixed(nn.Module):
    """A model with parameters of several types and memory formats."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        image = torch.randn(2, 3, 4, 4, generator=generator)
        self.image = nn.Parameter(image.to(memory_format=torch.channels_last))
        self.scalar = nn.Parameter(torch.tensor(1.5))
        self.fine = nn.Parameter(torch.randn(3, generator=generator, dtype=torch.float64))
        self.whole = nn.Parameter(torch.randn(2, generator=generator, dtype=torch.complex64))

    def forward(self, inputs: Tensor, flag: bool) -> Tensor:
        parts = [self.image.pow(2).sum(), self.scalar**2, self.fine.pow(3).sum(), self.whole.abs().pow(2).sum()]
        outputs: Tensor = torch.stack([part.double() for part in parts]).sum() * inputs.sum()
        return outputs


@pytest.mark.parametrize("first", ["image", "whole"])  # of the model's parameters
def test_gradients_have_the_type_and_memory_format_of_their_parameters(on_ranks: OnRanks, first: str) -> None:
    def make() -> Mixed:
        model = Mixed()
        parameters = dict(model.named_parameters())
        model._parameters = {first: parameters.pop(first), **parameters}
        return model

    def step(world: World) -> dict[str, Tensor | None]:
        model = make()
        train_step(DataParallel(model, world, False), [CHUNKS[world.rank]], False)
        for parameter in model.parameters():
            assert parameter.grad is not None
            assert (parameter.grad.dtype, parameter.grad.stride()) == (parameter.dtype, parameter.stride())
        return grads(model)

    alone = make()
    train_step(Engine(alone), CHUNKS, False, False)
    for found in on_ranks(step):
        for name, grad in grads(alone).items():
            torch.testing.assert_close(found[name], grad)


class Normalized(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def test_model_without_unused_parameters_causes_no_warning(on_ranks: OnRanks) -> None:
    def step(world: World) -> bool:
        model = Normalized()
        engine = DataParallel(model, world, False)
        for _ in range(2):
            for inputs, _ in engine.micro_batches([(torch.randn(3, 2), None)], 0):
                engine.forward(inputs).sum().backward()
        return all(parameter.grad is not None for parameter in model.parameters())

    assert on_ranks(step) == [True, True]  # which checks the output, too


def test_model_with_batch_normalization_may_be_called_twice(on_ranks: OnRanks) -> None:
    def step(world: World) -> bool:
        model = Normalized()
        engine = DataParallel(model, world, False)
        for inputs, _ in engine.micro_batches([(torch.randn(3, 2), None)], 0):
            (engine.forward(inputs) + engine.forward(inputs + 1)).sum().backward()
        return all(parameter.grad is not None for parameter in model.parameters())

    assert on_ranks(step) == [True, True]
