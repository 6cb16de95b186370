"""A network put together in YAML, from a list of layers."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from runner.errors import nearest
from runner.model.dropout import Dropout
from runner.registry import MODELS


class Kind(NamedTuple):
    """A kind of layer.

    Args:
        make: torch's own class.
        value: the argument that a bare value stands for: `linear: 64` is `linear: {out_features: 64}`.
        inferred: the argument that is read off the input, where it is not given.
        axis: which number of the input's shape (without the batch) that argument is.
    """

    make: Callable[..., nn.Module]
    value: str | None = None
    inferred: str | None = None
    axis: int = 0


LAYERS = {
    "linear": Kind(nn.Linear, "out_features", "in_features", axis=-1),
    "conv1d": Kind(nn.Conv1d, inferred="in_channels"),
    "conv2d": Kind(nn.Conv2d, inferred="in_channels"),
    "batch_norm1d": Kind(nn.BatchNorm1d, inferred="num_features"),
    "batch_norm2d": Kind(nn.BatchNorm2d, inferred="num_features"),
    "group_norm": Kind(nn.GroupNorm, "num_groups", "num_channels"),
    "layer_norm": Kind(nn.LayerNorm, "normalized_shape", "normalized_shape", axis=-1),
    "dropout": Kind(Dropout, "p"),
    "dropout2d": Kind(nn.Dropout2d, "p"),
    "relu": Kind(nn.ReLU),
    "leaky_relu": Kind(nn.LeakyReLU, "negative_slope"),
    "elu": Kind(nn.ELU, "alpha"),
    "silu": Kind(nn.SiLU),
    "gelu": Kind(nn.GELU),
    "sigmoid": Kind(nn.Sigmoid),
    "tanh": Kind(nn.Tanh),
    # Over the first axis after the batch: the classes, or the channels.
    "softmax": Kind(partial(nn.Softmax, 1)),
    "log_softmax": Kind(partial(nn.LogSoftmax, 1)),
    "max_pool1d": Kind(nn.MaxPool1d, "kernel_size"),
    "max_pool2d": Kind(nn.MaxPool2d, "kernel_size"),
    "avg_pool1d": Kind(nn.AvgPool1d, "kernel_size"),
    "avg_pool2d": Kind(nn.AvgPool2d, "kernel_size"),
    "adaptive_avg_pool1d": Kind(nn.AdaptiveAvgPool1d, "output_size"),
    "adaptive_avg_pool2d": Kind(nn.AdaptiveAvgPool2d, "output_size"),
    "adaptive_max_pool2d": Kind(nn.AdaptiveMaxPool2d, "output_size"),
    "flatten": Kind(nn.Flatten, "start_dim"),
    "unflatten": Kind(partial(nn.Unflatten, 1), "unflattened_size"),
}

# Whole numbers and the least that each may be: the trial on the meta device lets some of them pass.
LEAST = {"kernel_size": 1, "stride": 1, "dilation": 1, "groups": 1, "padding": 0, "output_size": 1}
LEAST |= {"out_features": 1, "out_channels": 1}


@MODELS.register("sequential")
class Sequential(nn.Module):
    """Layers one after another, each torch's own; the sizes of their inputs are inferred.

    Args:
        in_shape: shape of one input.
        out_features: number of outputs.
        layers: each a name (`relu`), a name with its main value (`{linear: 64}`), or a name with arguments as in
            torch (`{conv2d: {out_channels: 8, kernel_size: 3}}`). The value `out` stands for out_features.

    Shapes:
        inputs [B, *in_shape] to outputs [B, out_features].

    Raises:
        ValueError: a layer is unknown, refuses its arguments or its input, or the last one does not give out_features
            numbers; the message names the layer by its place in the list, from 0.
    """

    def __init__(self, in_shape: tuple[int, ...], out_features: int, layers: list[str | dict[str, Any]]) -> None:
        super().__init__()
        made: list[nn.Module] = []
        shape = tuple(in_shape)
        for index, entry in enumerate(layers):
            name, arguments = read(entry, f"layers[{index}]")
            arguments = {key: out_features if value == "out" else value for key, value in arguments.items()}
            check_numbers(name, arguments, f"layers[{index}]")
            layer, shape = fit(name, arguments, shape, f"layers[{index}]")
            made.append(layer)
        if shape != (out_features,):
            raise ValueError(
                f"the layers turn an input of {tuple(in_shape)} into {shape}, needed is {(out_features,)}; "
                "the usual end is: flatten, {linear: out}"
            )
        self.layers = nn.Sequential(*made)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layers(inputs)
        return outputs


def read(entry: str | dict[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    """The name of a layer and its arguments, both known to be right."""
    if isinstance(entry, dict) and len(entry) != 1:
        raise ValueError(f"{where}: needs one layer, found {', '.join(map(str, entry)) or 'none'}")
    name, given = (entry, None) if isinstance(entry, str) else next(iter(entry.items()))
    if name not in LAYERS:
        raise ValueError(f"{where}: found {name!r}; {nearest(str(name), LAYERS)}")

    kind, allowed = LAYERS[name], parameters(name)
    if given is None:
        arguments = {}
    elif isinstance(given, dict):
        arguments = given
    elif kind.value is None:
        raise ValueError(f"{where}.{name}: found {given!r}; its arguments go by name: {', '.join(allowed) or 'none'}")
    else:
        arguments = {kind.value: given}

    for key in arguments:
        if key not in allowed:
            raise ValueError(f"{where}.{name}.{key}: no such argument; {nearest(str(key), allowed)}")
    for key, parameter in allowed.items():
        if parameter.default is parameter.empty and key not in arguments and key != kind.inferred:
            raise ValueError(f"{where}.{name}.{key}: missing")
    return name, arguments


def parameters(name: str) -> dict[str, inspect.Parameter]:
    """What a list may set: all that torch's class names but where its weights lie and of what type they are."""
    signature = inspect.signature(LAYERS[name].make)
    named = {key: parameter for key, parameter in signature.parameters.items() if "VAR" not in parameter.kind.name}
    return {key: parameter for key, parameter in named.items() if key not in ("device", "dtype")}


def check_numbers(name: str, arguments: dict[str, Any], where: str) -> None:
    """Sizes are whole numbers of at least 0 or 1; a list has one for each side."""
    sides = 2 if name.endswith("2d") else 1
    for key, value in arguments.items():
        if key not in LEAST or value is None or isinstance(value, str):  # a word such as `padding: same` is torch's
            continue
        least = LEAST[key]
        numbers = value if isinstance(value, list) else [value]
        if any(type(number) is not int or number < least for number in numbers):
            raise ValueError(f"{where}.{name}.{key}: found {value!r}; needs whole numbers of at least {least}")
        if isinstance(value, list) and len(value) != sides:
            raise ValueError(f"{where}.{name}.{key}: found {value!r}; needs {sides} of them, or one number")


def fit(name: str, arguments: dict[str, Any], shape: tuple[int, ...], where: str) -> tuple[nn.Module, tuple[int, ...]]:
    """The layer, made for inputs of this shape (without the batch), and the shape of its outputs."""
    kind = LAYERS[name]
    if kind.inferred is not None:
        arguments = {kind.inferred: shape[kind.axis], **arguments}
    try:
        with torch.device("meta"), torch.inference_mode():  # a trial without memory, which draws no random numbers
            outputs = kind.make(**arguments).eval()(torch.empty(2, *shape))
        layer = kind.make(**arguments)
    except Exception as error:
        raise ValueError(f"{where}: {name} refuses {arguments} with an input of {shape}: {error}") from error
    if not isinstance(outputs, Tensor) or outputs.shape[:1] != (2,):
        raise ValueError(f"{where}: {name} with {arguments} does not give a tensor with an entry for each sample")
    return layer, tuple(outputs.shape[1:])
