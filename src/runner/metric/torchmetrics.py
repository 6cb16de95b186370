"""Metrics of torchmetrics by name, imported only when one is chosen, because the import takes seconds."""

import importlib
import inspect
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from runner.dataset.tree import tensors
from runner.registry import METRICS, TASKS, Entry, Traits
from runner.task.base import Task

PACKAGES = ("torchmetrics", "torchmetrics.regression", "torchmetrics.classification", "torchmetrics.segmentation")
SUPPLY = {
    "num_classes": "out_features",
    "num_labels": "out_features",
    "ignore_index": "ignore_index",
    "validate_args": "checks",
}
HIDDEN = ("kwargs", "args")


class TorchMetric:
    """A metric of torchmetrics with the interface of `runner.metric.Metric`.

    Args:
        metric: the metric.
        scores: function that turns outputs into what the metric takes, such as probabilities.
        classes: class names, for metrics with a value for each class.
    """

    def __init__(self, metric: Any, scores: Callable[[Any], Any], classes: tuple[str, ...]) -> None:
        self.metric, self.scores, self.classes = metric, scores, classes
        metric.sync_on_compute = metric._to_sync = False  # the runner merges the states of all shards and processes

    def reset(self) -> None:
        self.metric.reset()

    def update(self, outputs: Any, targets: Any) -> None:
        for tensor in tensors(targets)[:1]:
            if self.metric.device != tensor.device:
                self.metric.to(tensor.device)
        self.metric.update(self.scores(outputs), targets)

    def compute(self) -> float | dict[str, float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as: no positive samples, the score is 0
            return plain(self.metric.compute(), self.classes)

    def state_dict(self) -> dict[str, Any]:
        return {"state": dict(self.metric.metric_state), "updates": self.metric._update_count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.metric.reset()
        for name, value in state["state"].items():
            setattr(self.metric, name, value)
        self.metric._update_count = state["updates"]

    def merge(self, states: Sequence[dict[str, Any]]) -> None:
        """Load the states of several shards, reduced as torchmetrics reduces those of several processes."""
        states = [state for state in states if state["updates"]]  # those without samples have no values to stack
        if len(states) < 2:
            self.load_state_dict(states[0]) if states else self.reset()
            return
        self.metric.reset()
        for name, reduce in self.metric._reductions.items():
            values = [state["state"][name] for state in states]
            if isinstance(values[0], list):
                setattr(self.metric, name, [tensor for value in values for tensor in value])
            else:
                stacked = torch.stack(values)
                setattr(self.metric, name, stacked if reduce is None else reduce(stacked))
        self.metric._update_count = sum(state["updates"] for state in states)


def plain(value: Any, classes: tuple[str, ...]) -> Any:
    """Return a value of torchmetrics as a float, or as floats by name."""
    if isinstance(value, Mapping):
        return {str(key): float(item) for key, item in value.items()}
    if isinstance(value, Tensor) and value.numel() > 1:
        names = classes if len(classes) == value.numel() else tuple(map(str, range(value.numel())))
        return dict(zip(names, value.flatten().tolist(), strict=True))
    return float(value)


def candidates(task: Task | None = None) -> dict[str, str]:
    """Return the names of all metrics for a task, and the class of torchmetrics for each.

    A class is found by its own name and in snake case, with or without `_score`: `f1` and `f1_score` are
    `MulticlassF1Score` for classification and `MultilabelF1Score` for multi-label classification.
    """
    importlib.import_module("runner.vision")  # torchmetrics imports torchvision
    found: dict[str, str] = {}
    for package in map(importlib.import_module, PACKAGES):
        classes = [name for name in dir(package) if inspect.isclass(getattr(package, name))]
        found |= {name: f"{package.__name__}.{name}" for name in classes}
    if task is None:
        return found
    prefix = "Multilabel" if "multilabel" in task.fits else "Multiclass" if task.compares == "classes" else None
    short: dict[str, str] = {}
    for name, path in found.items():
        if ".classification." in path:
            if prefix and name.startswith(prefix):
                short[snake(name.removeprefix(prefix))] = path
        elif (".segmentation." in path) == bool(prefix):
            short.setdefault(snake(name), path)
    short |= {name.removesuffix("_score"): path for name, path in short.items() if name.endswith("_score")}
    general = {name: found[prefix + name] for name in found if prefix and prefix + name in found}
    return found | general | short  # F1Score itself asks for the task, which is known here


def snake(name: str) -> str:
    """Return a name in snake case: `F1Score` gives `f1_score`, `MeanIoU` gives `mean_iou`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", name.replace("IoU", "Iou")).lower()


def find(path: str) -> Entry | None:
    """Return a class of torchmetrics by its path, as a component; None if it is not one of `candidates`."""
    package, _, name = path.rpartition(".")
    if package not in PACKAGES or path not in candidates().values():
        return None
    metric: Callable[..., Any] = getattr(importlib.import_module(package), name)
    return Entry(metric, path, Traits(supply=SUPPLY, hide=HIDDEN))


def paths(name: str) -> list[str]:
    """Return the paths of the classes that a short name stands for with one of the shipped tasks."""
    known = [candidates(TASKS.build(task, {})) for task in ("classification", "multilabel", "regression")]
    return list(dict.fromkeys(names[name] for names in known if name in names))


METRICS.otherwise(find)
