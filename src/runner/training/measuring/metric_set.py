"""The metrics that a run measures: those that the config lists, or those of the task."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor

from runner.config.schema import Component, Config
from runner.errors import ConfigError
from runner.metric.base import Metric, SumMetric
from runner.metric.torchmetrics import TorchMetric, candidates
from runner.registry import METRICS
from runner.task.base import Task


@dataclass(frozen=True)
class MetricSet:
    """The metrics of a run.

    Args:
        task: task of the run.
        sums: metrics that are functions of sums, by name.
        choices: the other metrics, by name; each use of them gets new instances, because they keep a state.
        names: names of all values, in the order of the config; the loss is the first.
    """

    task: Task
    sums: Mapping[str, SumMetric]
    choices: Mapping[str, Component]
    names: Sequence[str]

    def others(self) -> dict[str, Metric]:
        """Return new instances of the metrics that are not sums."""
        return {name: build_metric(choice, self.task) for name, choice in self.choices.items()}


def build_metric_set(config: Config, task: Task) -> MetricSet:
    """Return the metrics of a run.

    Raises:
        ConfigError: a metric does not exist, its arguments are wrong, or it does not fit the task; one line for each.
    """
    sums: dict[str, SumMetric] = {}
    choices: dict[str, Component] = {}
    names, problems = ["loss"], []
    for index, choice in enumerate(chosen(config, task)):
        if choice.name in (*sums, *choices):
            problems.append(f"metrics[{index}]: found {choice.name!r} twice")
            continue
        try:
            metric = build_metric(choice, task, f"metrics[{index}]", checks=True)
            if isinstance(metric, SumMetric):
                if (batch := trial(task)) is not None:
                    metric.terms(*batch)
                sums[choice.name] = metric
                names.append(choice.name)
            elif isinstance(metric, Metric):
                choices[choice.name] = choice
                names += values_of(choice.name, metric, task)
            else:
                methods = "reset, update, compute, state_dict and load_state_dict"
                problems.append(f"metrics[{index}]: {choice.name!r} needs the methods {methods}")
        except ConfigError as error:
            problems += error.problems
        except Exception as error:
            problems.append(f"metrics[{index}]: {choice.name!r} does not fit the task, {type(task).__name__}: {error}")
    if problems:
        raise ConfigError(*problems)
    return MetricSet(task, sums, choices, names)


def chosen(config: Config, task: Task) -> list[Component]:
    """Return the metrics that the config lists, or else those of the task; the loss is always measured."""
    if config.metrics is None:
        return [Component(name=name) for name in task.metrics()]
    return [choice for choice in config.metrics if choice.name != "loss"]


def build_metric(choice: Component, task: Task, path: str = "metrics", checks: bool = False) -> Any:
    """Build a metric of the registry or of torchmetrics.

    Args:
        choice: name and arguments of the metric.
        task: task of the run.
        path: key of the metric in the config, for messages.
        checks: whether a metric of torchmetrics checks the values that it gets, which waits for a GPU.

    Raises:
        ConfigError: it does not exist, or an argument is wrong.
    """
    name, known = choice.name, METRICS.names()
    if name not in known:
        found = candidates(task)
        if name not in found:
            close = get_close_matches(name, [*known, *found], n=1)
            hint = f". Did you mean {close[0]}?" if close else ""
            raise ConfigError(
                f"{path}: found {name!r}; allowed: {', '.join(known)}, or one of torchmetrics, such as f1{hint}"
            )
        name = found[name]
    METRICS.check(name, choice.values, path, optional=METRICS.parameters(name))
    ignored = getattr(task, "ignored", -100)
    supplied: dict[str, Any] = {
        "task": task,
        "checks": checks,
        "in_shape": task.spec.in_shape,
        "out_features": task.spec.out_features,
        "ignore_index": ignored if getattr(task, "is_masked", False) or ignored >= 0 else None,
    }
    metric = METRICS.build(name, choice.values, **{**task.spec.supplies, **supplied})
    if choice.name not in known:
        return TorchMetric(metric, task.scores, task.spec.classes)
    if hasattr(metric, "metric_state"):  # a user's torchmetrics.Metric, whose state_dict is empty by default
        return TorchMetric(metric, lambda outputs: outputs, task.spec.classes)
    return metric


def values_of(name: str, metric: Metric, task: Task) -> list[str]:
    """Return the names of a metric's values, found by trying it with two samples.

    Raises:
        Exception: the metric does not accept the outputs and targets of the task.
    """
    batch = trial(task)
    if batch is None:
        return [name]
    metric.update(*batch)
    try:
        return list(named(name, metric.compute()))
    except ZeroDivisionError:  # of a ratio, such as precision, for which two samples are too few
        return [name]


def trial(task: Task) -> tuple[Tensor, Any] | None:
    """Return outputs and targets for two samples, to try a metric with; None if a user's task has others."""
    shape = task.out_shape()
    if shape is None:
        return None
    with torch.device("cpu"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.zeros(2, *shape), task.compared(task.two_targets())
        except Exception:  # targets of another structure
            return None


def named(name: str, value: float | Mapping[str, float]) -> dict[str, float]:
    """Return the value of a metric by name, or its several values as `name.key`."""
    if isinstance(value, Mapping):
        return {f"{name}.{key}": float(each) for key, each in value.items()}
    return {name: float(value)}
