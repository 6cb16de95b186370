"""Tests of what every task states, and of exact means over micro-batches."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers import metric_set_of
from runner.dataset import Spec
from runner.errors import DataError
from runner.registry import TASKS
from runner.task import Classification, LanguageModeling, Segmentation, Task
from runner.training.step import weighted_loss

CLASSES = 4


def task_of(name: str, loss: nn.Module, in_shape: tuple[int, ...] = (1, 2, 2)) -> Any:
    task = TASKS.build(name, {})
    task.spec, task.loss_fn = Spec(task=name, in_shape=in_shape, out_features=CLASSES), loss
    return task


def gradient(task: Task, weights: Tensor, outputs: Tensor, targets: Tensor, parts: list[int]) -> Tensor:
    """Return the gradient of the weights, which scale the outputs, accumulated over micro-batches."""
    scale = weights.clone().requires_grad_()
    total = sum((task.weight(part) for part in targets.split(parts)), start=torch.tensor(0.0))
    for output, target in zip(outputs.split(parts), targets.split(parts), strict=True):
        loss = task.loss(task.loss_fn, scale * output, target, None)
        weighted_loss(loss, "mean", task.weight(target), total)[1].backward()
    assert scale.grad is not None
    return scale.grad


@pytest.mark.parametrize("weight", [None, [1.0, 5.0, 0.5, 2.0]], ids=["equal", "class weights"])
@pytest.mark.parametrize("ignored", [-100, 1, 9])
@pytest.mark.parametrize("name", ["classification", "segmentation", "language_modeling"])
def test_micro_batches_give_the_gradient_of_the_large_batch(
    name: str, ignored: int, weight: list[float] | None
) -> None:
    generator = torch.Generator().manual_seed(0)
    loss = nn.CrossEntropyLoss(None if weight is None else torch.tensor(weight), ignore_index=ignored)
    task = task_of(name, loss)
    shape = {"classification": (), "segmentation": (2, 2), "language_modeling": (5,)}[name]
    targets = torch.randint(CLASSES, (12, *shape), generator=generator)
    if ignored != 1:
        targets[::3] = ignored if name != "classification" or ignored == 9 else 0
    targets[8:] = ignored if ignored >= 0 or name != "classification" else 0  # all of the last micro-batch
    outputs = torch.randn(12, *shape, CLASSES, generator=generator).movedim(-1, 1)
    if name == "language_modeling":
        outputs = outputs.movedim(1, -1)
    scale = torch.randn(outputs.shape[1:], generator=generator)
    whole = gradient(task, scale, outputs, targets, [12])
    torch.testing.assert_close(gradient(task, scale, outputs, targets, [5, 3, 4]), whole, rtol=0, atol=1e-6)
    direct = scale.clone().requires_grad_()
    task.loss(loss, direct * outputs, targets, None).backward()
    torch.testing.assert_close(whole, direct.grad, rtol=0, atol=1e-6)


def test_a_batch_without_any_counted_target_has_no_gradient() -> None:
    task = task_of("language_modeling", nn.CrossEntropyLoss(), (5,))
    outputs = torch.randn(2, 5, CLASSES, requires_grad=True)
    targets = torch.full((2, 5), -100)
    loss = task.loss(task.loss_fn, outputs, targets, None)
    summed, objective = weighted_loss(loss, "mean", task.weight(targets), None)
    objective.backward()
    assert summed == objective == 0
    assert outputs.grad is not None
    assert not outputs.grad.any()


@pytest.mark.parametrize(
    ("inputs", "called"),
    [
        (torch.ones(1), ("tensor",)),
        ((torch.ones(1), torch.ones(2)), ("tensor", "tensor")),
        ({"a": torch.ones(1), "b": torch.ones(2)}, {"a", "b"}),
    ],
    ids=["tensor", "tuple", "dict"],
)
def test_model_is_called_as_the_inputs_are(inputs: Any, called: Any) -> None:
    def model(*args: Tensor, **kwargs: Tensor) -> Any:
        return set(kwargs) if kwargs else ("tensor",) * len(args)

    assert Task().forward(model, inputs) == called


def test_user_task_overrides_what_differs() -> None:
    class Smoothed(Classification):
        def loss(self, loss_fn: nn.Module, outputs: Any, targets: Any, inputs: Any) -> Tensor:
            loss: Tensor = 0.5 * loss_fn(outputs, targets)
            return loss

    task = Smoothed()
    task.spec, task.loss_fn = Spec(task="classification", in_shape=(1,), out_features=2), nn.CrossEntropyLoss()
    outputs, targets = torch.tensor([[0.0, 1.0]]), torch.tensor([1])
    assert task.loss(task.loss_fn, outputs, targets, None) == 0.5 * task.loss_fn(outputs, targets)
    assert task.metrics() == ["accuracy"]
    assert task.weight(targets) == 1


@pytest.mark.parametrize("name", [name for name in TASKS.names() if name != "auto"])
def test_metrics_of_each_task_accept_its_outputs(name: str) -> None:
    metric_set = metric_set_of(name, CLASSES)
    task = metric_set.task
    task.spec = Spec(task=name, in_shape=(1, 2, 2) if name != "language_modeling" else (5,), out_features=CLASSES)
    shape = task.out_shape()
    assert shape is not None
    for metric in metric_set.sums.values():
        terms = metric.terms(torch.zeros(2, *shape), task.compared(task.two_targets()))
        assert len(terms) == metric.size


def test_soft_targets_of_mixup_count_once_each() -> None:
    task = task_of("classification", nn.CrossEntropyLoss(torch.tensor([1.0, 2, 3, 4])))
    soft = torch.tensor([[0.3, 0.7, 0, 0], [1.0, 0, 0, 0]])
    assert task.weight(soft) == 2
    assert task.compared(soft).tolist() == [1, 0]


def test_predictions_suit_the_task() -> None:
    outputs = torch.tensor([0.0, 3.0, -1.0, -1.0])
    row = task_of("classification", nn.CrossEntropyLoss()).answer(outputs, None)
    assert row["class"] == "1"
    assert row["probability"] == pytest.approx(row["p(1)"])
    task = TASKS.build("multilabel", {})
    task.spec = Spec(task="multilabel", in_shape=(1,), out_features=4, classes=("a", "b", "c", "d"))
    assert task.answer(torch.tensor([2.0, -2.0, 0.5, -0.5]), None)["classes"] == "a c"
    mask = torch.zeros(2, 2, 2)
    mask[1, 0, 0] = 1
    segmentation = Segmentation()
    segmentation.spec = Spec(task="segmentation", in_shape=(1, 2, 2), out_features=2, classes=("off", "on"))
    assert segmentation.answer(mask, None) == {"share(off)": 0.75, "share(on)": 0.25}


def test_prompt_of_bytes_may_have_any_character() -> None:
    task = LanguageModeling(length=1, temperature=0)
    task.spec = Spec(task="language_modeling", in_shape=(3,), out_features=256, classes=tuple(map(chr, range(256))))
    assert task.encode("é").tolist() == list("é".encode())

    def echo(tokens: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(torch.full_like(tokens, ord("!")), 256).float()

    assert task.generate(echo, task.encode("é")) == "é!"
    task.spec = Spec(task="language_modeling", in_shape=(3,), out_features=2, classes=("a", "b"))
    with pytest.raises(DataError, match="has characters that the model does not know: 'xy'"):
        task.encode("ayx")


def test_language_model_continues_a_prompt_within_its_context() -> None:
    task = LanguageModeling(length=4, temperature=0)
    task.spec = Spec(task="language_modeling", in_shape=(3,), out_features=3, classes=("a", "b", "c"))
    seen = []

    def successor(tokens: Tensor) -> Tensor:
        seen.append(tokens.shape[1])
        return torch.nn.functional.one_hot((tokens + 1) % 3, 3).float()

    assert task.generate(successor, task.encode("ab")) == "abcabc"
    assert seen == [2, 3, 3, 3]
