from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers import equal
from runner.config.schema import Config
from runner.machine.distributed import World
from runner.machine.signals import Stop
from runner.tracking.tracker import NullTracker
from runner.training.engine import Engine
from runner.training.evaluate import evaluate
from runner.training.loop import train_epoch
from runner.training.saving.checkpoint import Checkpoints
from runner.training.saving.resume import assemble
from runner.training.sharded import Sharded, TreeSum, flatten, unflatten
from runner.training.trainer import Trainer

OnRanks = Callable[..., list[Any]]


def random_parts(count: int) -> list[Tensor]:
    """Return vectors whose sum depends on the order of the additions."""
    return [torch.randn(1000, generator=torch.Generator().manual_seed(each)) * 10**each for each in range(count)]


def test_tree_sum_adds_neighbors_first() -> None:
    parts, tree = random_parts(8), TreeSum()
    for part in parts:
        tree.add(part.clone())
        assert len(tree.sums) <= 3
    left = (parts[0] + parts[1]) + (parts[2] + parts[3])
    right = (parts[4] + parts[5]) + (parts[6] + parts[7])
    assert torch.equal(tree.total, left + right)
    assert not torch.equal(tree.total, sum(parts[1:], start=parts[0]))


def test_sum_of_a_single_tensor_is_that_tensor() -> None:
    tree, (part,) = TreeSum(), random_parts(1)
    tree.add(part)
    assert tree.total is part


def test_sum_of_a_number_of_tensors_that_is_no_power_of_two_is_refused() -> None:
    tree = TreeSum()
    for part in random_parts(3):
        tree.add(part)
    with pytest.raises(ValueError, match="too many values"):
        _ = tree.total


@pytest.mark.parametrize("size", [1, 2, 4])
def test_sums_of_the_ranks_continue_the_tree(on_ranks: OnRanks, size: int) -> None:
    def total(world: World) -> Tensor:
        world.shards, tree = 8, TreeSum()
        for shard in world.own_shards:
            tree.add(random_parts(8)[shard])
        return world.tree_all_reduce(tree.total)

    whole = TreeSum()
    for part in random_parts(8):
        whole.add(part)
    for found in on_ranks(total, size):
        assert torch.equal(found, whole.total)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(1.5),
        torch.arange(96.0).view(2, 3, 4, 4).to(memory_format=torch.channels_last),
        torch.tensor([1 + 2j, 3j]),
        torch.ones(3, dtype=torch.float64),
        torch.ones(0, 2),
    ],
)
def test_tensors_keep_their_values_type_and_memory_format_in_a_message(tensor: Tensor) -> None:
    result = unflatten(flatten(tensor), tensor)
    assert torch.equal(result, tensor)
    assert (result.dtype, result.stride()) == (tensor.dtype, tensor.stride())


class Branches(nn.Module):
    """A model whose second layer is used only for inputs above 10."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.second, self.unused = (nn.Linear(1, 1, bias=False) for _ in range(3))
        self.frozen = nn.Linear(1, 1, bias=False).requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.shared(inputs) + self.frozen(inputs)
        return outputs + self.second(inputs) if inputs.max() > 10 else outputs


def step(model: nn.Module, world: World, shards: list[list[Tensor]], engine: Sharded | None = None) -> None:
    """Make the forward and backward passes of a step, and sum the gradients.

    Args:
        model: model to train.
        world: processes of the run.
        shards: inputs of the micro-batches of each shard.
        engine: engine to use; None: a new one.
    """
    engine = engine or Sharded(model, model, world, seed=0)
    own = [shards[shard] for shard in world.own_shards]
    batches = [(inputs, inputs) for micro_batch in zip(*own, strict=True) for inputs in micro_batch]
    for inputs, _ in engine.micro_batches(batches, 3):
        engine.forward(inputs).sum().backward()
    engine.combine_gradients()


def inputs_of(*numbers: float) -> list[list[Tensor]]:
    """Return shards with one micro-batch each."""
    return [[torch.tensor([[float(number)]])] for number in numbers]


@pytest.mark.parametrize("size", [1, 2])
def test_parameters_have_a_gradient_if_any_shard_uses_them(on_ranks: OnRanks, size: int) -> None:
    def grads(world: World) -> list[Tensor | None]:
        model, world.shards = Branches(), 4
        step(model, world, inputs_of(1, 2, 3, 20))
        return [parameter.grad for parameter in model.parameters()]

    for shared, second, unused, frozen in on_ranks(grads, size):
        assert (shared.item(), second.item(), unused, frozen) == (26, 20, None, None)


def test_parameter_that_was_used_in_an_earlier_step_has_no_gradient(on_ranks: OnRanks) -> None:
    def grads(world: World) -> list[bool]:
        model, world.shards = Branches(), 2
        engine = Sharded(model, model, world, seed=0)
        found = []
        for numbers in ((20, 1), (1, 2)):
            step(model, world, inputs_of(*numbers), engine)
            found.append(model.second.weight.grad is not None)
            model.zero_grad()
        return found

    assert on_ranks(grads) == [[True, False]] * 2


def test_gradient_is_summed_over_micro_batches_and_shards() -> None:
    model, alone = nn.Linear(1, 1), nn.Linear(1, 1)
    shards = [[torch.tensor([[10.0 * shard + batch]]) for batch in range(3)] for shard in range(4)]
    step(model, World(shards=4), shards)
    alone(torch.cat([inputs for shard in shards for inputs in shard])).sum().backward()
    for one, other in zip(model.parameters(), alone.parameters(), strict=True):
        assert one.grad is not None
        torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize("size", [1, 2])
def test_statistics_of_batch_normalization_are_the_mean_over_the_shards(on_ranks: OnRanks, size: int) -> None:
    shards = [[torch.randn(5, 3, generator=torch.Generator().manual_seed(each)) + each] for each in range(4)]

    def buffers(world: World) -> dict[str, Tensor]:
        model, world.shards = nn.BatchNorm1d(3), 4
        model.running_mean = torch.full((3,), 8.0)
        step(model, world, shards)
        return dict(model.named_buffers())

    for found in on_ranks(buffers, size):
        means = torch.stack([inputs.mean(0) for (inputs,) in shards]).mean(0)
        variances = torch.stack([inputs.var(0) for (inputs,) in shards]).mean(0)
        torch.testing.assert_close(found["running_mean"], 0.9 * torch.full((3,), 8.0) + 0.1 * means)
        torch.testing.assert_close(found["running_var"], 0.9 + 0.1 * variances)
        assert found["num_batches_tracked"] == 1


def test_accumulated_micro_batches_update_the_statistics_one_after_the_other() -> None:
    shards = [[torch.randn(5, 3) for _ in range(2)] for _ in range(2)]
    model, each = nn.BatchNorm1d(3), [nn.BatchNorm1d(3) for _ in shards]
    step(model, World(shards=2), shards)
    for alone, shard in zip(each, shards, strict=True):
        for inputs in shard:
            alone(inputs)
    assert model.num_batches_tracked == 2
    means = torch.stack([alone.running_mean for alone in each])  # type: ignore[misc]
    torch.testing.assert_close(model.running_mean, means.mean(0))


class Counter(nn.Module):
    """A model that replaces its buffer in each call instead of modifying it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(1))

    def forward(self, inputs: Tensor) -> Tensor:
        self.mean = 0.5 * self.mean + inputs.mean()
        return inputs * self.weight


def test_buffers_that_the_model_replaces_become_the_mean_over_the_shards() -> None:
    model = Counter()
    step(model, World(shards=2), inputs_of(1, 3))
    assert model.mean.item() == 2


def trained(config: Config, world: World, steps: int) -> dict[str, Any]:
    """Train for some steps, validate, and return what must not depend on the world size."""
    parts, state = assemble(config, world, None)
    trainer = Trainer(parts, state, NullTracker(), Checkpoints(Path("nowhere"), keep_last=1), Stop())
    original = trainer.steps

    def some() -> Iterator[Any]:
        return islice(original(), steps)

    trainer.steps = some  # type: ignore[method-assign]
    train_epoch(trainer)
    state.merge_recent()
    found = {
        "val": evaluate(parts, parts.val),
        "train": state.sums.compute(),
        "optimizer": parts.optimizer.state_dict(),
    }
    return found | {"model": dict(parts.model.state_dict())}


VARIANTS = {
    "dropout and batch normalization": ["model.dropout=0.5", "model.norm=batch"],
    "accumulation": ["trainer.accumulate=2", "model.norm=batch", "trainer.batch_size=61", "model.dropout=0.5"],
    "augmentation": [
        *("dataset.augment.shift=1", "dataset.augment.flip=true", "dataset.augment.erase=0.5"),
        "dataset.augment.mixup=0.5",
    ],
    "streamed": ["dataset.in_memory=false", "dataset.workers=0", "dataset.augment.shift=1"],
    "closure": ["optim=lbfgs", "optim.max_iter=3", "trainer.clip_norm=0.5", "model.dropout=0.5"],
    "weighted": ["loss.weight=balanced", "trainer.ema=0.5", "trainer.eval_batch_size=50"],
    "fp16": ["trainer.precision=fp16", "model.norm=batch"],
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_world_size_does_not_change_any_bit(on_ranks: OnRanks, tiny: Callable[..., Config], variant: str) -> None:
    config = tiny("trainer.shards=4", *VARIANTS[variant])
    expected = trained(config, World(), 3)
    for size in (2, 4):
        for found in on_ranks(lambda world: trained(config, world, 3), size):
            assert [key for key in expected if not equal(found[key], expected[key])] == []


def test_shards_change_only_the_rounding(tiny: Callable[..., Config]) -> None:
    whole, sharded = (trained(tiny(f"trainer.shards={shards}"), World(), 6) for shards in (1, 4))
    for name, tensor in whole["model"].items():
        torch.testing.assert_close(sharded["model"][name], tensor, rtol=1e-4, atol=1e-6)
    assert not equal(sharded["model"], whole["model"])
    assert sharded["val"] == pytest.approx(whole["val"], rel=1e-4)


def test_one_shard_is_computed_without_shards(tiny: Callable[..., Config]) -> None:
    parts, _ = assemble(tiny(), World(), None)
    assert type(parts.engine) is Engine


def test_dropout_differs_between_shards_and_steps(tiny: Callable[..., Config]) -> None:
    model = nn.Linear(1, 1)
    engine = Sharded(model, model, World(shards=2), seed=0)
    drawn = []
    for number in range(2):
        for inputs, _ in engine.micro_batches([(torch.ones(1, 1), None)] * 2, number):
            drawn.append(torch.rand(1).item())
            engine.forward(inputs).sum().backward()
    assert len(set(drawn)) == 4
