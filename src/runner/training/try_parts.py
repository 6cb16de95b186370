"""Build the parts of a run on the meta device, and check that they fit together."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from runner.config.schema import Component, Config
from runner.dataset.base import Dataset, Spec
from runner.errors import ConfigError
from runner.optim.closure import needs_closure
from runner.registry import LOSSES, OPTIMIZERS, REGISTRIES
from runner.training.build import build_dataset, build_loss, build_model
from runner.training.check_spec import check_augment, check_metrics, check_splits
from runner.training.hints import place
from runner.training.optimizer import build_optimizer, build_scheduler
from runner.training.try_small import is_small, with_zeros


@contextmanager
def gathering(problems: list[str]) -> Iterator[None]:
    """Append the lines of a ConfigError to `problems` instead of raising it."""
    try:
        yield
    except ConfigError as error:
        problems += [line for line in error.problems if line not in problems]


def try_parts(config: Config) -> Spec:
    """Build the parts on the meta device, and call the model and the loss with a batch of two samples.

    Returns:
        The spec of the dataset.

    Raises:
        ConfigError: a part cannot be built from its values, or the parts do not fit together; with one line for each
            problem.
    """
    problems: list[str] = []
    dataset: Dataset | None = attempt(config, "dataset", build_dataset, problems)
    if dataset is None:
        raise ConfigError(*problems)
    spec = dataset.spec
    with gathering(problems):
        check_metrics(config, spec)
    with gathering(problems):
        check_splits(config, spec)
    with gathering(problems):
        check_augment(config, spec)
    with torch.device("meta"):
        counts = torch.ones(spec.out_features if spec.task == "classification" else 0)
        model = attempt(config, "model", lambda c: build_model(c, spec), problems)
        loss = attempt(config, "loss", lambda c: build_loss(c, spec, counts), problems)
        optimizer = attempt(
            config, "optim", lambda c: build_optimizer(c, model or nn.Linear(1, 1, bias=False)), problems
        )
        if optimizer is not None:
            with gathering(problems):
                check_precision(config, optimizer)
            attempt(config, "scheduler", lambda c: try_scheduler(c, optimizer), problems)
        if model is not None:
            with gathering(problems):
                try_groups(config)
            with gathering(problems):
                check_shapes(config, spec, model, loss)
    if problems:
        raise ConfigError(*problems)
    if LOSSES.get(config.loss.name).traits.takes == "log_probabilities":
        check_log_probabilities(config, spec)
    return spec


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
    """Check the values of each entry of optim.groups; torch itself checks only those of the whole optimizer.

    Raises:
        ConfigError: a value is out of range.
    """
    for index, group in enumerate(config.optim.groups):
        values = config.optim.values | {key: value for key, value in group.items() if key != "match"}
        try:
            OPTIMIZERS.build(config.optim.name, values, params=[nn.Parameter(torch.zeros(1, 1))])
        except Exception as error:
            raise ConfigError(f"optim.groups[{index}]: {error}") from error


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
        if parameter.default in (parameter.empty, choice.values[key]):
            continue
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


def check_shapes(config: Config, spec: Spec, model: nn.Module, loss: nn.Module | None) -> None:
    """Check the shape of the outputs for two samples, and that the loss accepts them.

    A small model is called on the CPU first, which is faster; if that fails, the meta device gives the reason.

    Raises:
        ConfigError: the model or the loss fails, or the outputs do not have the shape [2, out_features].
    """
    wanted = (2, spec.out_features)
    if is_small(spec, model):
        with suppress(Exception), torch.device("cpu"), torch.no_grad():
            if send_two(spec, with_zeros(model), loss and with_zeros(loss)) == wanted:
                return
    pair = f"model={config.model.name} does not fit dataset={config.dataset.name}"
    try:
        with torch.no_grad():
            found = send_two(spec, model, loss)
    except NotImplementedError:
        return  # an operator does not support meta tensors: nothing can be checked
    except Exception as error:
        raise ConfigError(
            f"{pair} with inputs of {spec.in_shape}, or loss={config.loss.name}: {error}{place(error)}"
        ) from error
    if found != wanted:
        raise ConfigError(f"{pair}: for two samples it returns outputs of shape {found}, expected {wanted}")


def send_two(
    spec: Spec, model: Callable[[Tensor], Tensor], loss: Callable[[Tensor, Tensor], Tensor] | None
) -> tuple[int, ...]:
    """Call the model and the loss with two samples of zeros on the default device.

    Returns:
        The shape of the outputs.

    Raises:
        TypeError: the model does not return a tensor.
    """
    outputs = model(torch.zeros(2, *spec.in_shape))
    if not isinstance(outputs, Tensor):
        missing = ": is a `return` missing?" if outputs is None else "; expected a tensor"
        raise TypeError(f"forward returned {'None' if outputs is None else type(outputs).__name__}{missing}")
    found = tuple(outputs.shape)
    if loss is not None and found == (2, spec.out_features):
        loss(outputs, torch.zeros(2, dtype=torch.long) if spec.task == "classification" else torch.zeros(found))
    return found


def check_log_probabilities(config: Config, spec: Spec) -> None:
    """Check that the model returns log-probabilities: their exponentials sum to one.

    Raises:
        ConfigError: it does not.
    """
    with torch.no_grad():
        outputs = build_model(config, spec).eval()(torch.rand(2, *spec.in_shape))
    if not torch.allclose(outputs.logsumexp(1), torch.zeros(2), atol=1e-3):
        raise ConfigError(
            f"loss={config.loss.name} takes log-probabilities, which model={config.model.name} does not return: "
            "end the model with log_softmax, or use loss=cross_entropy, which includes it"
        )
