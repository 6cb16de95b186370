"""Call the model and the loss with two samples, and check the shape of the outputs."""

import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from runner.config.schema import Config
from runner.data.sources import stacked
from runner.dataset.base import Dataset, as_pool
from runner.dataset.tree import Tree, at, map_tensors, tensors
from runner.errors import ConfigError
from runner.task.base import Task
from runner.training.checks.try_small import is_small, with_zeros
from runner.training.setup.hints import place

# The model and the loss, or stand-ins for them, and the reduction of the loss.
Called = tuple[Callable[..., Any], Callable[..., Any] | None, str]


def check_shapes(config: Config, dataset: Dataset, task: Task, parts: tuple[nn.Module, nn.Module | None]) -> None:
    """Check the shape of the outputs for two samples, and that the loss accepts them.

    A small model is called on the CPU first, which is faster; if that fails, the meta device gives the reason. A large
    one is called on the CPU if the meta device fails, for example because the task has a model of its own.

    Args:
        config: a config whose types are checked.
        dataset: its dataset.
        task: its task.
        parts: the model and the loss on the meta device; no loss if it could not be built.

    Raises:
        ConfigError: the model or the loss fails, or the outputs do not have the shape that the task expects.
    """
    model, loss = parts
    reduction = getattr(loss, "reduction", "mean")
    spec, wanted = dataset.spec, task.out_shape()
    expected = None if wanted is None else (2, *wanted)

    def works_on_cpu() -> bool:
        with suppress(Exception), torch.device("cpu"), torch.no_grad():
            stand_ins = with_zeros(model), loss and with_zeros(loss), reduction
            return output_shape(task, stand_ins, dataset) in (expected, None)
        return False

    small = is_small(spec, model)
    if small and works_on_cpu():
        return
    pair = f"model={config.model.name} does not fit dataset={config.dataset.name}"
    try:
        with torch.no_grad():
            found = output_shape(task, (model, loss, reduction), dataset)
    except NotImplementedError:
        return  # an operator does not support meta tensors: nothing can be checked
    except Exception as error:
        if not small and works_on_cpu():
            return
        reason = "; ".join([f"{error}{place(error)}", *getattr(error, "__notes__", [])])
        raise ConfigError(f"{pair} with inputs of {spec.in_shape}, or loss={config.loss.name}: {reason}") from error
    if expected is not None and found != expected:
        raise ConfigError(f"{pair}: for two samples it returns outputs of shape {found}, expected {expected}")


def output_shape(task: Task, parts: Called, dataset: Dataset) -> tuple[int, ...] | None:
    """Call the model and the loss with two samples, and return the shape of the outputs.

    The samples are made up from the spec. A user's dataset need not describe its inputs with `Spec.example`, and a
    user's task may take other targets: if made-up samples are not accepted, two real ones are read.

    Returns:
        The shape of the outputs; None if they are not a tensor.
    """
    spec = dataset.spec
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about guessed targets
            return call_with_two(task, parts, spec.two_inputs)
    except Exception as error:
        if all(type(each).__module__.startswith("runner.") for each in (dataset, task)):
            raise
        try:
            real = first_two(dataset)
        except Exception as unreadable:
            reason = f"{type(unreadable).__name__}: {unreadable}{place(unreadable)}"
            error.add_note(f"two samples of the dataset cannot be tried instead: {reason}")
            raise error from unreadable
    return call_with_two(task, parts, *real)


def inputs_that_fit(dataset: Dataset, task: Task, model: nn.Module) -> Tree:
    """Return two inputs on the default device that the model accepts, as `output_shape` finds them."""
    inputs = dataset.spec.two_inputs
    try:
        with torch.no_grad():
            inputs, _ = task.batch(inputs, task.two_targets())
            task.forward(model, inputs)
    except Exception:
        with suppress(Exception):
            return task.batch(*first_two(dataset))[0]
    return inputs


def first_two(dataset: Dataset) -> tuple[Tree, Tree]:
    """Return the first two samples of a dataset as a batch on the default device."""
    device = torch.get_default_device()
    with torch.device("cpu"):
        samples = as_pool(dataset.load()).samples
        pairs = [(at(samples.inputs, index), at(samples.targets, index)) for index in range(2)]
        collate = getattr(dataset, "collate", None)
        batch = collate(pairs) if collate is not None else stacked(pairs)
        inputs, targets = map_tensors(lambda tensor: tensor.to(device), tuple(batch))
        is_image = isinstance(inputs, Tensor) and inputs.dtype == torch.uint8
        return inputs.float() if is_image else inputs, targets


def call_with_two(task: Task, parts: Called, inputs: Tree, targets: Tree = None) -> tuple[int, ...] | None:
    """Call the model and the loss with two samples on the default device.

    Args:
        task: task of the run.
        parts: the model, the loss and its reduction; the loss is called only if the outputs have the expected shape.
        inputs: two inputs.
        targets: two targets; None: those of the task.

    Returns:
        The shape of the outputs; None if they are not a tensor, as a task may allow by not stating their shape.

    Raises:
        TypeError: the model does not return a tensor, or the loss neither one number nor values to average.
    """
    model, loss, reduction = parts
    wanted = task.out_shape()
    inputs, targets = task.batch(inputs, task.two_targets() if targets is None else targets)
    outputs = task.forward(model, inputs)
    if not isinstance(outputs, Tensor) and (wanted is not None or not tensors(outputs)):
        missing = ": is a `return` missing?" if outputs is None else "; expected a tensor"
        raise TypeError(f"forward returned {'None' if outputs is None else type(outputs).__name__}{missing}")
    found = tuple(outputs.shape) if isinstance(outputs, Tensor) else None
    if loss is not None and (wanted is None or found == (2, *wanted)):
        value = task.loss(loss, outputs, targets, inputs)  # type: ignore[arg-type]  # may be a stand-in for the loss
        if not isinstance(value, Tensor):
            raise TypeError(f"the loss is of type {type(value).__name__}; expected a tensor")
        if value.numel() > 1 and reduction != "none":
            raise TypeError(f"the loss has shape {tuple(value.shape)}; expected one number: is `.mean()` missing?")
    return found
