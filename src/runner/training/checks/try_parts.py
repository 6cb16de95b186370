"""Build the parts of a run on the meta device, and check that they fit together."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from runner.config.schema import Component, Config
from runner.dataset.base import Dataset, Spec
from runner.errors import ConfigError
from runner.optim.closure import needs_closure
from runner.registry import LOSSES, OPTIMIZERS, REGISTRIES
from runner.task.base import Task
from runner.training.checks.check_spec import (
    check_augment,
    check_metrics,
    check_splits,
    check_supplies,
    check_transforms,
)
from runner.training.checks.try_shapes import check_shapes
from runner.training.setup.build import build_loss, build_model, build_task
from runner.training.setup.groups import read_group
from runner.training.setup.hints import place
from runner.training.setup.initial import check_initial, freeze
from runner.training.setup.optimizer import build_optimizer, build_scheduler


@contextmanager
def gathering(problems: list[str]) -> Iterator[None]:
    """Append the lines of a ConfigError to `problems` instead of raising it."""
    try:
        yield
    except ConfigError as error:
        problems += [line for line in error.problems if line not in problems]


def try_parts(config: Config, dataset: Dataset) -> Spec:
    """Build the parts on the meta device, and call the model and the loss with a batch of two samples.

    Args:
        config: a config whose types are checked.
        dataset: its dataset.

    Returns:
        The spec of the dataset.

    Raises:
        ConfigError: a part cannot be built from its values, or the parts do not fit together; with one line for each
            problem.
    """
    problems: list[str] = []
    spec = dataset.spec
    check_supplies(config, spec)
    task: Task | None = attempt(config, "task", lambda c: build_task(c, spec), problems)
    if task is None:
        raise ConfigError(*problems)
    with gathering(problems):
        check_splits(config, spec)
    with gathering(problems):
        check_augment(config, task)
    with gathering(problems):
        check_transforms(config, dataset)
    with torch.device("meta"):
        counts = torch.ones(spec.out_features if len(spec.classes) == spec.out_features else 0)
        model = try_model(config, spec, problems)
        loss = attempt(config, "loss", lambda c: build_loss(c, task, counts), problems)
        try_optimizer(config, model or nn.Linear(1, 1, bias=False), problems)
        if model is not None:
            with gathering(problems):
                try_groups(config)
            with gathering(problems):
                check_shapes(config, dataset, task, (model, loss))
    if loss is not None:
        task.loss_fn = loss
    with gathering(problems):
        check_metrics(config, task)
    if problems:
        raise ConfigError(*problems)
    if LOSSES.get(config.loss.name).traits.takes == "log_probabilities":
        check_log_probabilities(config, task)
    return spec


def try_model(config: Config, spec: Spec, problems: list[str]) -> nn.Module | None:
    """Return the model with `init.freeze` applied; append what is wrong with it or with `init` to `problems`."""
    model: nn.Module | None = attempt(config, "model", lambda c: build_model(c, spec), problems)
    if model is not None:
        for each in (check_initial, freeze):
            with gathering(problems):
                each(config, model)
    return model


def try_optimizer(config: Config, model: nn.Module, problems: list[str]) -> None:
    """Build the optimizer and try the scheduler; append what is wrong with them to `problems`."""
    optimizer = attempt(config, "optim", lambda c: build_optimizer(c, model), problems)
    if optimizer is not None:
        with gathering(problems):
            check_precision(config, optimizer)
        attempt(config, "scheduler", lambda c: try_scheduler(c, optimizer), problems)


def try_scheduler(config: Config, optimizer: torch.optim.Optimizer) -> None:
    """Check the learning rates of the first steps of the schedule.

    Raises:
        ValueError: a learning rate is negative or not finite.
    """
    scheduler = build_scheduler(config, optimizer, 100)
    for _ in range(3):
        scheduler.step(1.0) if isinstance(scheduler, ReduceLROnPlateau) else scheduler.step()
        for rate in scheduler.get_last_lr():
            if not 0 <= rate < math.inf:
                raise ValueError(f"gives a learning rate of {rate}")


def try_groups(config: Config) -> None:
    """Check the values of each entry of optim.groups; torch itself checks only those of a whole optimizer.

    Raises:
        ConfigError: a value is out of range.
    """
    for group in (read_group(config.optim, index) for index in range(len(config.optim.groups))):
        if group.optimizer != config.optim.name:
            continue  # it is an optimizer of its own, which `build_optimizer` has checked
        values = config.optim.values | group.values
        try:
            OPTIMIZERS.build(config.optim.name, values, params=[nn.Parameter(torch.zeros(1, 1))])
        except Exception as error:
            raise ConfigError(f"{group.key}: {error}") from error


def attempt(config: Config, group: str, make: Callable[[Config], Any], problems: list[str]) -> Any:
    """Build a part, or append the problem to `problems`, with the key of the wrong value.

    Args:
        config: a config whose types are checked.
        group: group of the part.
        make: builds the part from a config.
        problems: lines to append to.

    Returns:
        The part; None if it cannot be built.
    """
    with gathering(problems):
        try:
            return make(config)
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(f"{culprit(config, group, make)}: {error}{place(error)}") from error
    return None


def culprit(config: Config, group: str, make: Callable[[Config], Any]) -> str:
    """Return the key and the value that prevent a part from being built.

    To find it, try each key with its default: if the part can then be built, the configured value was wrong. If there
    is no such key, return the group with its choice.
    """
    choice: Component = getattr(config, group)
    for key, parameter in REGISTRIES[group].parameters(choice.name).items():
        if key not in choice.values or parameter.default in (parameter.empty, choice.values[key]):
            continue  # a key that is not in the config is supplied by the dataset
        values = choice.model_dump() | {key: parameter.default}
        try:
            make(config.model_copy(update={group: type(choice).model_construct(**values)}))
        except Exception:  # another value is wrong, perhaps also this one
            continue
        return f"{group}.{key}: found {choice.values[key]!r}"
    return f"{group}={choice.name}"


def check_precision(config: Config, optimizer: Optimizer) -> None:
    """Check that the optimizer supports the precision.

    Raises:
        ConfigError: the precision is fp16, and the optimizer needs a closure.
    """
    if config.trainer.precision == "fp16" and needs_closure(optimizer):
        raise ConfigError(
            f"trainer.precision: found 'fp16'; optim={config.optim.name} evaluates the loss several times per "
            "step, which gradient scaling does not support; allowed with it: fp32, bf16"
        )


def check_log_probabilities(config: Config, task: Task) -> None:
    """Check that the model returns log-probabilities: their exponentials sum to one.

    Inputs that only the data shows are not tried.

    Raises:
        ConfigError: it does not.
    """
    model, inputs = build_model(config, task.spec).eval(), task.spec.two_inputs
    if isinstance(inputs, torch.Tensor) and inputs.is_floating_point():
        inputs = torch.rand_like(inputs)
    try:
        with torch.no_grad():
            sums = task.forward(model, inputs).logsumexp(getattr(task, "class_dim", 1))
    except Exception:
        return
    if not torch.allclose(sums, torch.zeros_like(sums), atol=1e-3):
        raise ConfigError(
            f"loss={config.loss.name} takes log-probabilities, which model={config.model.name} does not return: "
            "end the model with log_softmax, or use loss=cross_entropy, which includes it"
        )
