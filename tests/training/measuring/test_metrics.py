from collections.abc import Callable
from typing import Any

import pytest
import torch

from helpers import metric_set_of
from runner.machine.distributed import World
from runner.training.measuring import shard_metrics
from runner.training.measuring.metrics import Metrics

CPU = torch.device("cpu")


def test_smaller_last_batch_has_less_weight() -> None:
    metrics = Metrics(metric_set_of("classification"), CPU)
    right, wrong = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    metrics.update(torch.tensor(3.0), 3, right.repeat(3, 1), torch.ones(3, dtype=torch.long))
    metrics.update(torch.tensor(5.0), 1, wrong, torch.ones(1, dtype=torch.long))
    assert metrics.compute() == {"loss": 2.0, "accuracy": 0.75}


def test_regression_equals_scikit_learn() -> None:
    from sklearn.metrics import mean_absolute_error, r2_score

    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(50, 1, generator=generator) + 100
    outputs = targets + 0.3 * torch.randn(50, 1, generator=generator)
    metrics = Metrics(metric_set_of("regression"), CPU)
    for part in range(0, 50, 8):
        size = len(outputs[part : part + 8])
        metrics.update(torch.tensor(0.0), size, outputs[part : part + 8], targets[part : part + 8])
    found = metrics.compute()
    assert found["mae"] == pytest.approx(mean_absolute_error(targets, outputs), rel=1e-6)
    assert found["r2"] == pytest.approx(r2_score(targets, outputs), rel=1e-5)


@pytest.mark.parametrize(("error", "r2"), [(0.0, 1.0), (1.0, 0.0)])
def test_r2_of_constant_targets_is_finite(error: float, r2: float) -> None:
    metrics = Metrics(metric_set_of("regression"), CPU)
    metrics.update(torch.tensor(0.0), 4, torch.full((4, 1), 2.0 + error), torch.full((4, 1), 2.0))
    assert metrics.compute()["r2"] == r2


def test_sums_can_be_added_saved_and_reset() -> None:
    one, two, restored = (Metrics(metric_set_of("classification"), CPU) for _ in range(3))
    for metrics, loss in ((one, 1.0), (two, 4.0)):
        metrics.update(torch.tensor(loss), 1, torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    one.add(two)
    restored.shard.load_state_dict(one.shard.state_dict())
    one.reset()
    assert restored.compute() == {"loss": 2.5, "accuracy": 1.0}
    assert one.compute() == {}


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("most", [1 << 20, 50, 1])
def test_saving_and_loading_after_every_batch_does_not_change_the_metrics(
    monkeypatch: pytest.MonkeyPatch, task: str, most: int
) -> None:
    monkeypatch.setattr(shard_metrics, "MOST_NUMBERS", most)
    generator = torch.Generator().manual_seed(0)
    metrics, resumed = Metrics(metric_set_of(task, 3), CPU), Metrics(metric_set_of(task, 3), CPU)
    for size in (4, 3, 5, 1, 6):
        outputs = torch.randn(size, 3, generator=generator)
        targets = outputs.argmax(1) if task == "classification" else torch.randn(size, 3, generator=generator)
        for each in (metrics, resumed):
            each.update(torch.rand((), generator=torch.Generator().manual_seed(size)), size, outputs, targets)
        state, resumed = resumed.shard.state_dict(), Metrics(metric_set_of(task, 3), CPU)
        resumed.shard.load_state_dict(state)
    assert resumed.compute() == metrics.compute()


def test_later_changes_to_the_outputs_do_not_affect_the_metrics() -> None:
    bias, metrics = torch.zeros(1), Metrics(metric_set_of("regression"), CPU)
    metrics.update(torch.tensor(0.0), 4, bias.expand(4, 1), torch.ones(4, 1))
    bias.fill_(1)
    assert metrics.compute()["mae"] == 1


def batches(shards: int) -> list[tuple[torch.Tensor, int, torch.Tensor, torch.Tensor]]:
    """Return loss, weight, outputs and targets of a batch for each shard; the last shard has none."""
    found = []
    for shard in range(shards - 1):
        generator = torch.Generator().manual_seed(shard)
        outputs, targets = torch.randn(shard + 3, 3, generator=generator), torch.arange(shard + 3) % 3
        found.append((torch.rand((), generator=generator) * 10**shard, shard + 3, outputs, targets))
    return found


@pytest.mark.parametrize("size", [1, 2, 4])
def test_metrics_over_shards_have_the_same_bits_for_any_world_size(
    on_ranks: Callable[..., list[Any]], size: int
) -> None:
    def compute(world: World) -> dict[str, float]:
        world.shards = 4
        metrics = Metrics(metric_set_of("classification", 3), CPU, world)
        for index, batch in enumerate(batches(4)[world.own_shards.start : world.own_shards.stop]):
            world.current = index
            metrics.update(*batch)
        return metrics.compute()

    total = sum(float(loss) for loss, *_ in batches(4))
    right = sum((outputs.argmax(1) == targets).sum().item() for _, _, outputs, targets in batches(4))
    assert on_ranks(compute, size) == [{"loss": total / 12, "accuracy": right / 12}] * size


def test_metrics_are_empty_only_if_no_shard_has_samples() -> None:
    world = World(shards=2)
    metrics = Metrics(metric_set_of("classification", 3), CPU, world)
    assert metrics.compute() == {}
    world.current = 1
    metrics.update(*batches(2)[0])
    assert metrics.compute().keys() == {"loss", "accuracy"}
    metrics.reset()
    assert metrics.compute() == {}
