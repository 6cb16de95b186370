"""Tests of the built-in metrics, those of torchmetrics, and how a run chooses them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from helpers import checkpoint, equal, metric_set_of, metrics_table, results
from runner import cli
from runner.config.schema import Component, Config
from runner.errors import ConfigError
from runner.machine.distributed import World
from runner.metric.torchmetrics import TorchMetric, candidates, paths, snake
from runner.registry import METRICS
from runner.training.checks.check import check
from runner.training.evaluate import evaluate
from runner.training.measuring.metric_set import MetricSet, build_metric
from runner.training.measuring.metrics import Metrics
from runner.training.saving.resume import assemble
from runner.training.state import Best, TrainState

CPU = torch.device("cpu")


def test_accuracy_leaves_out_ignored_targets() -> None:
    loss = torch.nn.CrossEntropyLoss(ignore_index=1)
    metric = METRICS.build("accuracy", {}, task=metric_set_of("classification", 3, loss).task)
    right, counted = metric.terms(torch.eye(3), torch.tensor([0, 1, 0]))
    assert (right.item(), counted.item()) == (1, 2)
    assert metric.value([1.0, 2.0]) == 0.5


def test_accuracy_of_labels_counts_every_label() -> None:
    metric = METRICS.build("accuracy", {}, task=metric_set_of("multilabel", 2).task)
    right, counted = metric.terms(torch.tensor([[1.0, -1.0], [1.0, 1.0]]), torch.tensor([[1, 0], [0, 1]]))
    assert (right.item(), counted) == (3, 4)


def test_perplexity_is_that_of_the_tokens_whatever_the_loss_is() -> None:
    loss = torch.nn.CrossEntropyLoss(label_smoothing=0.5)
    metric = METRICS.build("perplexity", {}, task=metric_set_of("language_modeling", 4, loss).task)
    targets = torch.tensor([[0, 1, -100]])
    total, counted = metric.terms(torch.zeros(1, 3, 4), targets)
    assert counted.item() == 2
    assert metric.value([total.item(), 2.0]) == pytest.approx(4)
    assert metric.value([1e6, 1.0]) == math.inf


@pytest.mark.parametrize("name", ["accuracy", "perplexity"])
def test_metric_of_ignored_targets_only_is_not_a_number(name: str) -> None:
    loss = torch.nn.CrossEntropyLoss(reduction="sum")  # with which the weight of the batch is not 0
    task = metric_set_of("language_modeling", 4, loss).task
    metrics = Metrics(MetricSet(task, {name: METRICS.build(name, {}, task=task)}, {}, ["loss", name]), CPU)
    metrics.update(torch.tensor(0.0), 1, torch.zeros(1, 3, 4), torch.full((1, 3), -100))
    assert math.isnan(metrics.compute()[name])


def test_values_of_different_shapes_are_not_broadcast() -> None:
    for name in ("mae", "r2"):
        with pytest.raises(ValueError, match=r"outputs have shape \[2, 3\] and targets \[2\]"):
            METRICS.build(name, {}).terms(torch.zeros(2, 3), torch.zeros(2))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("F1Score", "f1_score"), ("AUROC", "auroc"), ("MeanIoU", "mean_iou"), ("JaccardIndex", "jaccard_index")],
)
def test_names_in_snake_case(name: str, expected: str) -> None:
    assert snake(name) == expected


@pytest.mark.slow
def test_short_names_depend_on_the_task() -> None:
    for task, found in {
        "classification": "torchmetrics.classification.MulticlassF1Score",
        "segmentation": "torchmetrics.classification.MulticlassF1Score",
        "multilabel": "torchmetrics.classification.MultilabelF1Score",
    }.items():
        assert candidates(metric_set_of(task).task)["f1"] == candidates(metric_set_of(task).task)["f1_score"] == found
    assert paths("f1") == [f"torchmetrics.classification.{kind}F1Score" for kind in ("Multiclass", "Multilabel")]
    names = candidates(metric_set_of("regression").task)
    assert names["mean_squared_error"] == "torchmetrics.regression.MeanSquaredError"
    assert "f1" not in names


@pytest.mark.slow
@pytest.mark.parametrize("average", ["macro", "none"])
def test_torchmetrics_equals_scikit_learn(average: Any) -> None:
    from sklearn.metrics import f1_score

    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(60, 3, generator=generator), torch.randint(3, (60,), generator=generator)
    metric = build_metric(
        Component.model_validate({"name": "f1", "average": average}), metric_set_of("classification", 3).task
    )
    for part in (slice(0, 40), slice(40, 60)):
        metric.update(outputs[part], targets[part])
    expected = f1_score(targets, outputs.argmax(1), average=None if average == "none" else average)
    found = metric.compute()
    assert (list(found.values()) if average == "none" else found) == pytest.approx(expected)
    restored = build_metric(
        Component.model_validate({"name": "f1", "average": average}), metric_set_of("classification", 3).task
    )
    restored.load_state_dict(metric.state_dict())
    assert restored.compute() == found
    restored.reset()
    assert restored.compute() != found


@pytest.mark.slow
def test_probabilities_are_not_taken_for_logits() -> None:
    metric = build_metric(Component(name="auroc"), metric_set_of("multilabel", 2).task)
    outputs = torch.tensor([[0.1, 0.9], [0.2, 0.8], [0.3, 0.1], [0.9, 0.2]])  # logits that look like probabilities
    metric.update(outputs, torch.tensor([[0, 1], [0, 1], [1, 0], [1, 0]]))
    assert metric.compute() == 1


@pytest.mark.parametrize("tree", [lambda tensor: tensor, lambda tensor: [{"boxes": tensor}]], ids=["tensor", "tree"])
def test_metric_of_torchmetrics_follows_its_targets_to_their_device(tree: Any) -> None:
    metric = Mock(device=CPU)
    targets = tree(torch.zeros(2, device="meta"))
    TorchMetric(metric, lambda outputs: outputs, ()).update(torch.zeros(2), targets)
    metric.to.assert_called_once_with(torch.device("meta"))


@pytest.mark.slow
def test_metric_of_torchmetrics_selects_the_best_and_survives_a_resume(runner: Callable[..., Path]) -> None:
    chosen = ["metrics=[accuracy,{name: f1, average: none},auroc]", "trainer.checkpoint.metric=val/auroc"]
    chosen += ["trainer.checkpoint.mode=max", "trainer.early_stopping.metric=val/f1.3"]
    whole = runner(*chosen, "trainer.epochs=3")
    names = [f"f1.{digit}" for digit in range(10)]
    assert list(results(whole)["test"]) == ["loss", "accuracy", *names, "auroc"]
    assert results(whole)["best"]["metric"] == "val/auroc"
    assert results(whole)["best"]["value"] == max(0, results(whole)["best"]["value"])
    part = runner(*chosen, "trainer.epochs=3", "trainer.max_steps=13", "trainer.checkpoint.every_steps=1")
    assert cli.main(["resume", str(part), "trainer.max_steps=null"]) == 0
    assert equal(checkpoint(part)["model"], checkpoint(whole)["model"])
    assert metrics_table(part)[-1] == metrics_table(whole)[-1]


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (
            "[acuracy]",
            r"metrics\[0\]: found 'acuracy'; allowed: accuracy, mae, .* Did you mean accuracy",
        ),
        ("[accuracy,accuracy]", r"metrics\[1\]: found 'accuracy' twice"),
        ("[mae]", r"metrics\[0\]: 'mae' does not fit the task, Classification: compares values"),
        ("[{average: macro}]", r"metrics.0.name: missing"),
        ("[{name: accuracy, top: 3}]", r"metrics\[0\].top: no such key"),
        ("accuracy", r"metrics: found 'accuracy'"),
    ],
)
def test_wrong_metrics_are_refused(tiny: Callable[..., Config], metrics: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(tiny(f"metrics={metrics}"))


def test_several_values_of_an_own_metric_have_names(workdir: Path, runner: Callable[..., Path]) -> None:
    (workdir / "both.py").write_text(
        "from runner.registry import METRICS\n"
        "@METRICS.register('both')\n"
        "class Both:\n"
        "    def __init__(self): self.samples = 0\n"
        "    def reset(self): self.samples = 0\n"
        "    def update(self, outputs, targets): self.samples += len(targets)\n"
        "    def compute(self): return {'count': self.samples, 'half': self.samples / 2}\n"
        "    def state_dict(self): return {'samples': self.samples}\n"
        "    def load_state_dict(self, state): self.samples = state['samples']\n"
    )
    folder = runner("plugins=[both]", "metrics=[both]", "trainer.epochs=1")
    assert results(folder)["val"] == {"loss": results(folder)["val"]["loss"], "both.count": 143, "both.half": 71.5}
    assert results(folder)["train"]["both.count"] == 1295


def samples_of(task: str, sizes: Sequence[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return outputs and targets of shards of the given sizes."""
    generator, found = torch.Generator().manual_seed(0), []
    for size in sizes:
        outputs = torch.randn(size, 3 if task == "classification" else 1, generator=generator)
        values = outputs + 0.5 * torch.randn(outputs.shape, generator=generator)
        found.append((outputs, values.argmax(1) if task == "classification" else values))
    return found


MANY = pytest.mark.filterwarnings("ignore:Metric `SpearmanCorrcoef` will save all targets")
MERGED = [
    ("classification", {"name": "f1"}),
    ("classification", {"name": "f1", "average": "none"}),
    ("classification", {"name": "auroc", "thresholds": None}),
    ("classification", {"name": "auroc", "thresholds": 10}),
    ("regression", {"name": "pearson_corr_coef"}),
    pytest.param("regression", {"name": "spearman_corr_coef"}, marks=MANY),
    ("regression", {"name": "explained_variance"}),
]


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(9, 7), (5, 4, 4, 3), (9, 7, 0, 0)])
@pytest.mark.parametrize(("task", "choice"), MERGED)
def test_merged_metrics_of_torchmetrics_equal_one_over_all_samples(
    task: str, choice: dict[str, Any], sizes: Sequence[int]
) -> None:
    component, measured = Component.model_validate(choice), metric_set_of(task, 3 if task == "classification" else 1)
    whole, merged, states = build_metric(component, measured.task), build_metric(component, measured.task), []
    for outputs, targets in samples_of(task, sizes):
        shard = build_metric(component, measured.task)
        for part in (slice(0, 3), slice(3, None)):  # two batches
            if len(targets[part]):
                shard.update(outputs[part], targets[part])
                whole.update(outputs[part], targets[part])
        states.append(shard.state_dict())
    merged.update(*samples_of(task, (5,))[0])  # which `merge` discards
    merged.merge(states)
    assert merged.compute() == pytest.approx(whole.compute(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("task", "choice"), MERGED)
def test_metrics_of_torchmetrics_are_continued_with_another_world_size(task: str, choice: dict[str, Any]) -> None:
    component, measured = Component.model_validate(choice), metric_set_of(task, 3 if task == "classification" else 1)
    measured = replace(measured, choices={"it": component})
    whole, world = build_metric(component, measured.task), World(shards=4)
    before, after = Metrics(measured, torch.device("cpu"), world), Metrics(measured, torch.device("cpu"))
    for world.current, (outputs, targets) in enumerate(samples_of(task, (5, 4, 6, 3))):
        before.update(torch.tensor(0.0), len(targets), outputs, targets)
        whole.update(outputs, targets)
    first = [{"recent": state, "window": state, "sums": state} for state in (s.state_dict() for s in before.shards)]
    state = TrainState.start(measured, torch.device("cpu"), Best("", "min"), Best("", "min"))
    state.merge_shard_states(first)
    after.shards[0].load_state_dict(state.shard_states()[0]["sums"])  # as by another resume
    ((outputs, targets),) = samples_of(task, (7,))
    after.update(torch.tensor(0.0), len(targets), outputs, targets)
    whole.update(outputs, targets)
    found, expected = after.compute(), whole.compute()
    expected = expected if isinstance(expected, dict) else {"it": expected}
    assert [found[name] for name in found if name.startswith("it")] == pytest.approx([*expected.values()], rel=1e-5)


COUNTER = """
from runner.registry import METRICS
@METRICS.register('counter')
class Counter:
    def __init__(self): self.samples = 0
    def reset(self): self.samples = 0
    def update(self, outputs, targets): self.samples += len(targets)
    def compute(self): return float(self.samples)
    def state_dict(self): return {'samples': self.samples}
    def load_state_dict(self, state): self.samples = state['samples']
"""
MERGE = "    def merge(self, states): self.samples = sum(state['samples'] for state in states)\n"


def test_own_metric_without_merge_is_refused_with_shards(workdir: Path, tiny: Callable[..., Config]) -> None:
    (workdir / "counting.py").write_text(COUNTER)
    chosen = ["plugins=[counting]", "metrics=[accuracy,counter]"]
    check(tiny(*chosen))
    with pytest.raises(ConfigError) as caught:
        check(tiny(*chosen, "trainer.shards=2"))
    assert str(caught.value) == (
        "metrics: counter needs a method merge(states), see runner.metric.base.Metric, to be measured with several "
        "processes or trainer.shards; allowed: a metric that has it, or a SumMetric"
    )


def test_own_metric_with_merge_counts_the_samples_of_all_shards(workdir: Path, runner: Callable[..., Path]) -> None:
    (workdir / "counting.py").write_text(COUNTER + MERGE)
    folder = runner("plugins=[counting]", "metrics=[counter]", "trainer.epochs=1", "trainer.shards=4")
    assert [results(folder)[part]["counter"] for part in ("train", "val", "test")] == [1295, 143, 359]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_own_metric_is_merged_over_shards_and_ranks(
    workdir: Path, on_ranks: Callable[..., list[Any]], tiny: Callable[..., Config], size: int
) -> None:
    (workdir / "counting.py").write_text(COUNTER + MERGE)
    config = tiny("plugins=[counting]", "metrics=[counter]", "trainer.shards=4", "trainer.eval_batch_size=71")
    check(config)

    def count(world: World) -> list[float]:
        parts, state = assemble(config, world, None)
        found = evaluate(parts, parts.val)  # whose last batch has one sample: three shards have none
        for index in range(len(world.own_shards)):
            world.current = index
            state.record(torch.tensor(1.0), 3, torch.zeros(3, 10), torch.zeros(3, dtype=torch.long))
        state.merge_recent()
        assert found is not None
        return [found["counter"], state.sums.compute()["counter"], state.sums.compute()["counter"]]

    assert on_ranks(count, size) == [[143, 12, 12]] * size
