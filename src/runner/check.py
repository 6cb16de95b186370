"""Whether a config describes a run that can start, told before anything is built or created.

The parts are tried on torch's `meta` device, where tensors have shapes but no numbers: a whole model costs nothing.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any

import torch
from torch import nn

from runner.build import build_dataset, build_loss, build_model, build_optimizer, build_scheduler
from runner.dataset.base import Dataset, Spec
from runner.device import resolve
from runner.errors import ConfigError, nearest
from runner.metrics import NAMES
from runner.registry import OPTIMIZERS, REGISTRIES
from runner.settings import Component, Config


def check(config: Config) -> Spec:
    """Checks the whole config; returns the dataset's spec.

    Raises:
        ConfigError: with a line for each thing to mend.
    """
    load_plugins(config.plugins)
    problems: list[str] = []
    for group, registry in REGISTRIES.items():
        choice: Component = getattr(config, group)
        with gathering(problems):
            registry.check(choice.name, choice.values)
    with gathering(problems):
        check_groups(config)
    with gathering(problems):
        check_folds(config)
    with gathering(problems):
        resolve(config.device.name)
    if problems:
        raise ConfigError(*problems)
    return try_parts(config)


@contextmanager
def gathering(problems: list[str]) -> Iterator[None]:
    """Adds the lines of a ConfigError to `problems` and goes on."""
    try:
        yield
    except ConfigError as error:
        problems += [line for line in error.problems if line not in problems]


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


def check_groups(config: Config) -> None:
    """The keys and types of optim.groups; which parameters they match is tried with the model."""
    problems: list[str] = []
    for index, group in enumerate(config.optim.groups):
        values = {key: value for key, value in group.items() if key != "match"}
        with gathering(problems):
            OPTIMIZERS.check(config.optim.name, config.optim.values | values, f"optim.groups[{index}]")
    if problems:
        raise ConfigError(*problems)


def check_folds(config: Config) -> None:
    folds, fold = config.dataset.folds, config.dataset.fold
    if (folds is None) != (fold is None):
        raise ConfigError(f"dataset.folds and dataset.fold go together: found folds {folds}, fold {fold}")
    if folds is not None and fold is not None and fold >= folds:
        raise ConfigError(f"dataset.fold: found {fold}; with dataset.folds={folds}, 0 to {folds - 1} are allowed")


def try_parts(config: Config) -> Spec:
    """Builds the parts without memory and sends a batch through them.

    Raises:
        ConfigError: a part refuses its values, or two do not fit together.
    """
    problems: list[str] = []
    dataset: Dataset | None = attempt(config, "dataset", build_dataset, problems)
    if dataset is None:
        raise ConfigError(*problems)
    spec = dataset.spec
    with gathering(problems):
        check_metrics(config, spec)
    with torch.device("meta"):
        counts = torch.ones(spec.out_features if spec.task == "classification" else 0)
        model = attempt(config, "model", lambda c: build_model(c, spec), problems)
        loss = attempt(config, "loss", lambda c: build_loss(c, spec, counts), problems)
        optimizer = attempt(config, "optim", lambda c: build_optimizer(c, model or nn.Linear(1, 1)), problems)
        if optimizer is not None:
            attempt(config, "scheduler", lambda c: build_scheduler(c, optimizer, 100), problems)
        if model is not None:
            with gathering(problems):
                check_shapes(config, spec, model, loss)
    if problems:
        raise ConfigError(*problems)
    return spec


def attempt(config: Config, group: str, make: Callable[[Config], Any], problems: list[str]) -> Any:
    """What `make` makes; when it refuses, None, and a line that names the key whose value it refused."""
    with gathering(problems):
        try:
            return make(config)
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(f"{culprit(config, group, make)}: {error}") from error
    return None


def culprit(config: Config, group: str, make: Callable[[Config], Any]) -> str:
    """The key whose value is refused: the one with whose default the part can be made."""
    choice: Component = getattr(config, group)
    for key, parameter in REGISTRIES[group].parameters(choice.name).items():
        if parameter.default in (parameter.empty, choice.values[key]):
            continue
        values = choice.model_dump() | {key: parameter.default}
        try:
            make(config.model_copy(update={group: type(choice).model_construct(**values)}))
        except Exception:  # not this one, or not this one alone
            continue
        return f"{group}.{key}: found {choice.values[key]!r}"
    return f"{group}={choice.name}"


def check_metrics(config: Config, spec: Spec) -> None:
    """The metrics that choose the best checkpoint and stop early are ones that this task has."""
    known = [f"{part}/{name}" for part in ("train", "val") for name in NAMES[spec.task]]
    chosen = {
        "trainer.checkpoint.metric": config.trainer.checkpoint.metric,
        "trainer.early_stopping.metric": config.trainer.early_stopping.metric,
    }
    problems = [f"{key}: found {name!r}; {nearest(name, known)}" for key, name in chosen.items() if name not in known]
    if problems:
        raise ConfigError(*problems)


def check_shapes(config: Config, spec: Spec, model: nn.Module, loss: nn.Module | None) -> None:
    """A batch of two samples goes through the model and the loss."""
    pair = f"model={config.model.name} does not fit dataset={config.dataset.name}"
    wanted = (2, spec.out_features)
    try:
        with torch.inference_mode():
            outputs = model(torch.empty(2, *spec.in_shape))
            found = tuple(outputs.shape)
            if loss is not None and found == wanted:
                classes = spec.task == "classification"
                loss(outputs, torch.zeros(2, dtype=torch.long) if classes else torch.empty(wanted))
    except NotImplementedError:
        return  # an operator that knows no meta tensors: the run will tell
    except Exception as error:
        raise ConfigError(f"{pair} with inputs of {spec.in_shape}, or loss={config.loss.name}: {error}") from error
    if found != wanted:
        raise ConfigError(f"{pair}: for two samples it returns {found}, needed is {wanted}")
