import pytest
import torch

from runner.training.metrics import Metrics, Task

CPU = torch.device("cpu")


def test_smaller_last_batch_has_less_weight() -> None:
    metrics = Metrics("classification", CPU)
    right, wrong = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    metrics.update(torch.tensor(3.0), right.repeat(3, 1), torch.ones(3, dtype=torch.long))
    metrics.update(torch.tensor(5.0), wrong, torch.ones(1, dtype=torch.long))
    assert metrics.compute() == {"loss": 2.0, "accuracy": 0.75}


def test_regression_equals_scikit_learn() -> None:
    from sklearn.metrics import mean_absolute_error, r2_score

    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(50, 1, generator=generator) + 100
    outputs = targets + 0.3 * torch.randn(50, 1, generator=generator)
    metrics = Metrics("regression", CPU)
    for part in range(0, 50, 8):
        metrics.update(torch.tensor(0.0), outputs[part : part + 8], targets[part : part + 8])
    found = metrics.compute()
    assert found["mae"] == pytest.approx(mean_absolute_error(targets, outputs), rel=1e-6)
    assert found["r2"] == pytest.approx(r2_score(targets, outputs), rel=1e-5)


@pytest.mark.parametrize(("error", "r2"), [(0.0, 1.0), (1.0, 0.0)])
def test_r2_of_constant_targets_is_finite(error: float, r2: float) -> None:
    metrics = Metrics("regression", CPU)
    metrics.update(torch.tensor(0.0), torch.full((4, 1), 2.0 + error), torch.full((4, 1), 2.0))
    assert metrics.compute()["r2"] == r2


def test_sums_can_be_added_saved_and_reset() -> None:
    one, two, restored = (Metrics("classification", CPU) for _ in range(3))
    for metrics, loss in ((one, 1.0), (two, 4.0)):
        metrics.update(torch.tensor(loss), torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    one.add(two)
    restored.load_state_dict(one.state_dict())
    one.reset()
    assert restored.compute() == {"loss": 2.5, "accuracy": 1.0}
    assert one.compute() == {}


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("most", [1 << 20, 50, 1])
def test_saving_and_loading_after_every_batch_does_not_change_the_metrics(
    monkeypatch: pytest.MonkeyPatch, task: Task, most: int
) -> None:
    monkeypatch.setattr("runner.training.metrics.MOST_NUMBERS", most)
    generator = torch.Generator().manual_seed(0)
    metrics, resumed = Metrics(task, CPU), Metrics(task, CPU)
    for size in (4, 3, 5, 1, 6):
        outputs = torch.randn(size, 3, generator=generator)
        targets = outputs.argmax(1) if task == "classification" else torch.randn(size, 3, generator=generator)
        for each in (metrics, resumed):
            each.update(torch.rand((), generator=torch.Generator().manual_seed(size)), outputs, targets)
        state, resumed = resumed.state_dict(), Metrics(task, CPU)
        resumed.load_state_dict(state)
    assert resumed.compute() == metrics.compute()


def test_later_changes_to_the_outputs_do_not_affect_the_metrics() -> None:
    bias, metrics = torch.zeros(1), Metrics("regression", CPU)
    metrics.update(torch.tensor(0.0), bias.expand(4, 1), torch.ones(4, 1))
    bias.fill_(1)
    assert metrics.compute()["mae"] == 1
