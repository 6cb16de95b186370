"""Whether a config describes a run that can start, told before anything is built or created.

The parts are tried on torch's `meta` device, where tensors have shapes but no numbers: a whole model costs nothing.
"""

import importlib
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

import torch

from runner.build import build_dataset, build_loss, build_model, build_optimizer, build_scheduler
from runner.dataset.base import Spec
from runner.device import resolve
from runner.errors import ConfigError, nearest
from runner.metrics import NAMES
from runner.registry import DATASETS, LOSSES, MODELS, OPTIMIZERS, SCHEDULERS, Registry
from runner.settings import Component, Config
from runner.settings import Dataset as DatasetSettings


def check(config: Config) -> Spec:
    """Checks the whole config; returns the dataset's spec.

    Raises:
        ConfigError: with a line for each thing to mend.
    """
    load_plugins(config.plugins)
    problems: list[str] = []
    groups: list[tuple[Registry, Component]] = [
        (MODELS, config.model),
        (LOSSES, config.loss),
        (OPTIMIZERS, config.optim),
        (SCHEDULERS, config.scheduler),
        (DATASETS, config.dataset),
    ]
    for registry, choice in groups:
        problems += _collect(lambda registry=registry, choice=choice: registry.problems(choice.name, choice.values))
    problems += _collect(lambda: resolve(config.device.name))
    problems += _collect(lambda: groups_problems(config))
    problems += folds_problems(config)
    if problems:
        raise ConfigError(*problems)
    return try_parts(config)


def load_plugins(modules: list[str]) -> None:
    """Imports the user's modules, and those of installed packages, so that they register their components.

    Raises:
        ConfigError: an import failed; the message says of what and why.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")  # the folder that the command was started in
    problems = []
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            problems.append(f"plugins: importing {module!r} failed: {type(error).__name__}: {error}")
    for point in entry_points(group="runner.plugins"):
        try:
            point.load()
        except Exception as error:
            problems.append(f"the installed plugin {point.name!r} ({point.value}): {type(error).__name__}: {error}")
    if problems:
        raise ConfigError(*problems)


def groups_problems(config: Config) -> list[str]:
    """What is wrong with the keys and types of optim.groups; which parameters they match is tried later."""
    problems = []
    for index, group in enumerate(config.optim.groups):
        values = {key: value for key, value in group.items() if key != "match"}
        found = OPTIMIZERS.problems(config.optim.name, config.optim.values | values)
        problems += [line.replace("optim.", f"optim.groups[{index}].", 1) for line in found]
    return problems


def folds_problems(config: Config) -> list[str]:
    folds, fold = config.dataset.folds, config.dataset.fold
    if (folds is None) != (fold is None):
        return [f"dataset.folds and dataset.fold go together: found folds {folds}, fold {fold}"]
    if folds is not None and fold is not None and fold >= folds:
        return [f"dataset.fold: found {fold}; with dataset.folds={folds}, 0 to {folds - 1} are allowed"]
    return []


def try_parts(config: Config) -> Spec:
    """Builds the parts without memory and sends a batch through them.

    Raises:
        ConfigError: a part refuses its values, or two do not fit together.
    """
    problems: list[str] = []
    spec = _attempt(problems, config, "dataset", lambda c: build_dataset(c).spec)
    if spec is None:
        raise ConfigError(*problems)
    problems += metric_problems(config, spec)
    with torch.device("meta"):
        counts = torch.ones(spec.out_features if spec.task == "classification" else 0)
        model = _attempt(problems, config, "model", lambda c: build_model(c, spec))
        loss = _attempt(problems, config, "loss", lambda c: build_loss(c, spec, counts))
        any_model = model or torch.nn.Linear(1, 1)
        optimizer = _attempt(problems, config, "optim", lambda c: build_optimizer(c, any_model))
        if optimizer is not None:
            _attempt(problems, config, "scheduler", lambda c: build_scheduler(c, optimizer, 100))
        if model is not None:
            problems += shape_problems(config, spec, model, loss)
    if problems:
        raise ConfigError(*problems)
    return spec


def shape_problems(config: Config, spec: Spec, model: torch.nn.Module, loss: torch.nn.Module | None) -> list[str]:
    """What goes wrong when a batch of two samples goes through model and loss."""
    pair = f"model={config.model.name} does not fit dataset={config.dataset.name}"
    wanted = (2, spec.out_features)
    try:
        with torch.inference_mode():
            outputs = model(torch.empty(2, *spec.in_shape))
            if tuple(outputs.shape) != wanted:
                return [f"{pair}: for two samples it returns {tuple(outputs.shape)}, needed is {wanted}"]
            if loss is not None:
                classes = spec.task == "classification"
                loss(outputs, torch.zeros(2, dtype=torch.long) if classes else torch.empty(wanted))
    except NotImplementedError:
        return []  # an operator that knows no meta tensors: the run will tell
    except Exception as error:
        return [f"{pair} of inputs {spec.in_shape} and loss={config.loss.name}: {error}"]
    return []


def metric_problems(config: Config, spec: Spec) -> list[str]:
    known = [f"{part}/{name}" for part in ("train", "val") for name in NAMES[spec.task]]
    chosen = {
        "trainer.checkpoint.metric": config.trainer.checkpoint.metric,
        "trainer.early_stopping.metric": config.trainer.early_stopping.metric,
    }
    return [f"{key}: found {name!r}; {nearest(name, known)}" for key, name in chosen.items() if name not in known]


def _attempt(problems: list[str], config: Config, group: str, make: Callable[[Config], Any]) -> Any:
    """What `make` makes; when it refuses, None, and a line that names the key whose value it refused."""
    try:
        return make(config)
    except ConfigError as error:
        problems += error.problems
    except Exception as error:
        problems.append(f"{_culprit(config, group, make)}: {error}")
    return None


def _culprit(config: Config, group: str, make: Callable[[Config], Any]) -> str:
    """The key whose value is refused: the one with whose default the part can be made."""
    registry = {"dataset": DATASETS, "model": MODELS, "loss": LOSSES, "optim": OPTIMIZERS, "scheduler": SCHEDULERS}[group]
    choice: Component = getattr(config, group)
    for key, parameter in registry.parameters(choice.name).items():
        if parameter.default is parameter.empty or parameter.default == choice.values[key]:
            continue
        values = choice.model_dump() | {key: parameter.default}
        try:
            make(config.model_copy(update={group: type(choice).model_construct(**values)}))
        except Exception:
            continue
        return f"{group}.{key}: found {choice.values[key]!r}"
    return f"{group}={choice.name}"


def _collect(attempt: Callable[[], Any]) -> list[str]:
    try:
        found = attempt()
    except ConfigError as error:
        return list(error.problems)
    return found if isinstance(found, list) else []
