"""Try the parts of a run on the meta device: whether each can be built, and whether they fit together."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from runner.config.schema import Component, Config
from runner.dataset.base import Dataset, Spec
from runner.errors import ConfigError, nearest
from runner.optim.closure import needs_closure
from runner.registry import LOSSES, OPTIMIZERS, REGISTRIES
from runner.training.build import build_augment, build_dataset, build_loss, build_model
from runner.training.hints import place
from runner.training.metrics import NAMES
from runner.training.optimizer import build_optimizer, build_scheduler

SMALL, SMALL_INPUT = 2_000_000, 1 << 14  # numbers in a model, and in one input of it


@contextmanager
def gathering(problems: list[str]) -> Iterator[None]:
    """Adds the lines of a ConfigError to `problems` and goes on."""
    try:
        yield
    except ConfigError as error:
        problems += [line for line in error.problems if line not in problems]


def try_parts(config: Config) -> Spec:
    """Builds the parts without memory and sends two samples through them.

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
        if model is not None:
            with gathering(problems):
                check_shapes(config, spec, model, loss)
    if problems:
        raise ConfigError(*problems)
    if LOSSES.get(config.loss.name).traits.takes == "log_probabilities":
        check_log_probabilities(config, spec)
    return spec


def try_scheduler(config: Config, optimizer: torch.optim.Optimizer) -> None:
    """A few steps of the schedule give learning rates that can be used."""
    scheduler = build_scheduler(config, optimizer, 100)
    for _ in range(3):
        scheduler.step(1.0) if isinstance(scheduler, ReduceLROnPlateau) else scheduler.step()
        for rate in scheduler.get_last_lr():
            if not 0 <= rate < math.inf:
                raise ValueError(f"leads to a learning rate of {rate}")


def try_groups(config: Config) -> None:
    """The values of each of optim.groups are in range: torch looks at those of the optimizer alone."""
    for index, group in enumerate(config.optim.groups):
        values = config.optim.values | {key: value for key, value in group.items() if key != "match"}
        try:
            OPTIMIZERS.build(config.optim.name, values, params=[nn.Parameter(torch.zeros(1, 1))])
        except Exception as error:
            raise ConfigError(f"optim.groups[{index}]: {error}") from error


def attempt(config: Config, group: str, make: Callable[[Config], Any], problems: list[str]) -> Any:
    """What `make` makes; when it refuses, None, and a line that names the key whose value it refused."""
    with gathering(problems):
        try:
            return make(config)
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(f"{culprit(config, group, make)}: {error}{place(error)}") from error
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


def check_precision(config: Config, optimizer: Optimizer) -> None:
    if config.trainer.precision == "fp16" and needs_closure(optimizer):
        raise ConfigError(
            f"trainer.precision: found 'fp16'; optim={config.optim.name} asks for the loss several times a step, "
            "which the scaled gradients of fp16 do not allow; allowed with it: fp32, bf16"
        )


def check_shapes(config: Config, spec: Spec, model: nn.Module, loss: nn.Module | None) -> None:
    """Two samples go through the model and the loss.

    A small model is tried with zeros first, on the CPU: an operation on the meta device imports sympy, for a quarter of
    a second. Where that fails, the meta device tells why.
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
        return  # an operator that knows no meta tensors: the run will tell
    except Exception as error:
        raise ConfigError(
            f"{pair} with inputs of {spec.in_shape}, or loss={config.loss.name}: {error}{place(error)}"
        ) from error
    if found != wanted:
        raise ConfigError(f"{pair}: for two samples it returns {found}, needed is {wanted}")


def send_two(
    spec: Spec, model: Callable[[Tensor], Tensor], loss: Callable[[Tensor, Tensor], Tensor] | None
) -> tuple[int, ...]:
    """Sends two samples of zeros through, on the default device; returns the shape of the outputs."""
    outputs = model(torch.zeros(2, *spec.in_shape))
    if not isinstance(outputs, Tensor):
        missing = ": is a `return` missing?" if outputs is None else "; needed is a tensor"
        raise TypeError(f"forward returned {'None' if outputs is None else type(outputs).__name__}{missing}")
    found = tuple(outputs.shape)
    if loss is not None and found == (2, spec.out_features):
        loss(outputs, torch.zeros(2, dtype=torch.long) if spec.task == "classification" else torch.zeros(found))
    return found


def is_small(spec: Spec, model: nn.Module) -> bool:
    numbers = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    return numbers <= SMALL and math.prod(spec.in_shape) <= SMALL_INPUT


def with_zeros(module: nn.Module) -> Callable[..., Tensor]:
    """A module without memory, called with a zero for each number in it; what it keeps of a call it keeps in a copy."""
    named = (*module.named_parameters(), *module.named_buffers())
    zeros = {name: torch.zeros(tensor.shape, dtype=tensor.dtype) for name, tensor in named}
    own = copy.deepcopy(module)
    return lambda *inputs: functional_call(own, zeros, inputs)


def check_log_probabilities(config: Config, spec: Spec) -> None:
    """The outputs of the real model are logarithms of probabilities: their exponentials sum to one."""
    with torch.no_grad():
        outputs = build_model(config, spec).eval()(torch.rand(2, *spec.in_shape))
    if not torch.allclose(outputs.logsumexp(1), torch.zeros(2), atol=1e-3):
        raise ConfigError(
            f"loss={config.loss.name} takes log-probabilities, which model={config.model.name} does not return: "
            "let the model end with log_softmax, or take loss=cross_entropy, which is both in one"
        )


def check_splits(config: Config, spec: Spec) -> None:
    """There is something to test on: a share, a fold, the publisher's test set, or by choice the training samples."""
    choice = config.dataset
    if choice.test_share is None and choice.folds is None and not spec.has_test and choice.val_share is not None:
        raise ConfigError(
            f"dataset.test_share: found null, and dataset={choice.name} has no test set of its own: "
            "set dataset.test_share=0.2 to test on a fifth of the samples, or dataset.val_share=null to validate and "
            "test on the training samples"
        )


def check_augment(config: Config, spec: Spec) -> None:
    if build_augment(config) is None:
        return
    if spec.task != "classification" or len(spec.in_shape) != 3:
        raise ConfigError(
            f"dataset.augment: changes pictures whose class stays the same; dataset={config.dataset.name} is for "
            f"{spec.task} with inputs of {spec.in_shape}; allowed: null"
        )
