"""Find the operators of a model that have no deterministic gradient on an NVIDIA GPU.

With `device.deterministic=true`, PyTorch raises an error at the first backward pass through one of them.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from runner.config.schema import Config
from runner.dataset.base import Dataset
from runner.dataset.tree import tensors
from runner.errors import ConfigError
from runner.training.checks.try_shapes import inputs_that_fit
from runner.training.setup.build import build_model, build_task
from runner.training.setup.initial import freeze

# Node of the autograd graph -> operator, from the documentation of `torch.use_deterministic_algorithms`. PyTorch
# replaces bilinear and trilinear interpolation by a deterministic one.
OPERATORS = {
    "AdaptiveAvgPool2DBackward": "adaptive_avg_pool2d",
    "AdaptiveAvgPool3DBackward": "adaptive_avg_pool3d",
    "AdaptiveMaxPool2DBackward": "adaptive_max_pool2d",
    "AvgPool3DBackward": "avg_pool3d",
    "FractionalMaxPool2DBackward": "fractional_max_pool2d",
    "FractionalMaxPool3DBackward": "fractional_max_pool3d",
    "GridSampler2DBackward": "grid_sample",
    "GridSampler3DBackward": "grid_sample",
    "ReflectionPad1DBackward": "reflection padding",
    "ReflectionPad2DBackward": "reflection padding",
    "ReflectionPad3DBackward": "reflection padding",
    "UpsampleBicubic2DBackward": "bicubic interpolation",
    "UpsampleLinear1DBackward": "linear interpolation",
}


def check_deterministic(config: Config, dataset: Dataset, device: torch.device) -> None:
    """Check that deterministic training is possible on the device.

    Operators of a compiled model are not checked, because torch.compile may replace them.

    Raises:
        ConfigError: an operator of the model has no deterministic gradient.
    """
    if not config.device.deterministic or device.type != "cuda" or config.trainer.compile:
        return
    found = sorted(nondeterministic(outputs_on_meta(config, dataset)))
    if found:
        raise ConfigError(
            f"device.deterministic: found true, but model={config.model.name} uses {', '.join(found)}, which has no "
            "deterministic gradient on an NVIDIA GPU; allowed with it: false"
        )


def outputs_on_meta(config: Config, dataset: Dataset) -> Any:
    """Return the outputs of the model for two inputs on the meta device; None if an operator does not support it."""
    try:
        with torch.device("meta"):
            task = build_task(config, dataset.spec)
            model = build_model(config, dataset.spec)
            freeze(config, model)
            return task.forward(model, inputs_that_fit(dataset, task, model))
    except Exception:
        return None


def nondeterministic(outputs: Any) -> set[str]:
    """Return the operators between outputs and trainable parameters that have no deterministic gradient on CUDA."""
    names = {node.name().rstrip("0123456789") for node in graph(tensors(outputs))}
    return {OPERATORS[name] for name in names & OPERATORS.keys()}


def graph(outputs: Iterable[Tensor]) -> set[Any]:
    """Return all nodes of the autograd graph of tensors."""
    found: set[Any] = set()
    waiting = [output.grad_fn for output in outputs]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting += [following for following, _ in node.next_functions]
    return found
