"""A feed-forward network defined in YAML as a list of layers."""

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
    """The torch module behind a layer name.

    Args:
        make: class of the module.
        value: argument that a bare value sets: `linear: 64` means `linear: {out_features: 64}`.
        inferred: argument taken from the input shape unless it is given.
        axis: dimension of the input shape, not counting the batch, from which `inferred` is taken.
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
    # dim=1 is the dimension of the classes or channels.
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

# Minimum of each integer argument; torch accepts some smaller values on the meta device.
LEAST = {"kernel_size": 1, "stride": 1, "dilation": 1, "groups": 1, "padding": 0, "output_size": 1}
LEAST |= {"out_features": 1, "out_channels": 1}


@MODELS.register("sequential")
class Sequential(nn.Module):
    """Sequence of torch.nn layers listed in YAML, with inferred input sizes.

    Args:
        in_shape: shape of one input.
        out_features: number of outputs.
        layers: one entry per layer: a name (`relu`), a name with its main argument (`{linear: 64}`), or a name with
            named arguments as in torch.nn (`{conv2d: {out_channels: 8, kernel_size: 3}}`). The value `out` stands
            for `out_features`.

    Shapes:
        Input: [B, *in_shape].
        Output: [B, out_features].

    Raises:
        ValueError: a layer is unknown, or its arguments or its input shape are invalid; the message gives its
            index in `layers`, counted from 0.
        ValueError: the output of the last layer does not have shape [B, out_features].
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
                f"the layers map an input of shape {tuple(in_shape)} to {shape}, expected {(out_features,)}; "
                "end the list with: flatten, {linear: out}"
            )
        self.layers = nn.Sequential(*made)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)


def read(entry: str | dict[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    """Parse one entry of `layers`.

    Args:
        entry: a name, or a name with its arguments.
        where: key of the entry, for messages.

    Returns:
        The name of the layer, and its arguments by name.

    Raises:
        ValueError: the layer or an argument is unknown, or a required argument is missing.
    """
    if isinstance(entry, dict) and len(entry) != 1:
        raise ValueError(f"{where}: needs exactly one layer, found {', '.join(map(str, entry)) or 'none'}")
    name, given = (entry, None) if isinstance(entry, str) else next(iter(entry.items()))
    if name not in LAYERS:
        raise ValueError(f"{where}: found {name!r}; {nearest(str(name), LAYERS)}")

    kind, allowed = LAYERS[name], parameters(name)
    if given is None:
        arguments = {}
    elif isinstance(given, dict):
        arguments = given
    elif kind.value is None:
        raise ValueError(
            f"{where}.{name}: found {given!r}; give its arguments by name, allowed: {', '.join(allowed) or 'none'}"
        )
    else:
        arguments = {kind.value: given}

    for key in arguments:
        if key not in allowed:
            raise ValueError(f"{where}.{name}.{key}: no such argument; {nearest(str(key), allowed)}")
    for key, parameter in allowed.items():
        if parameter.default is parameter.empty and key not in arguments and key != kind.inferred:
            raise ValueError(f"{where}.{name}.{key}: missing; it has no default")
    return name, arguments


def parameters(name: str) -> dict[str, inspect.Parameter]:
    """Return the arguments of a layer that YAML may set: all but `device` and `dtype`."""
    signature = inspect.signature(LAYERS[name].make)
    named = {key: parameter for key, parameter in signature.parameters.items() if "VAR" not in parameter.kind.name}
    return {key: parameter for key, parameter in named.items() if key not in ("device", "dtype")}


def check_numbers(name: str, arguments: dict[str, Any], where: str) -> None:
    """Check the integer arguments of a layer.

    Raises:
        ValueError: a value is not an integer or is too small, or a list has the wrong length.
    """
    sides = 2 if name.endswith("2d") else 1
    for key, value in arguments.items():
        if key not in LEAST or value is None or isinstance(value, str):  # torch checks strings such as padding: same
            continue
        least = LEAST[key]
        numbers = value if isinstance(value, list) else [value]
        if any(type(number) is not int or number < least for number in numbers):
            raise ValueError(f"{where}.{name}.{key}: found {value!r}; each value must be an integer >= {least}")
        if isinstance(value, list) and len(value) != sides:
            raise ValueError(f"{where}.{name}.{key}: found {value!r}; needs a list of length {sides}, or one integer")


def fit(name: str, arguments: dict[str, Any], shape: tuple[int, ...], where: str) -> tuple[nn.Module, tuple[int, ...]]:
    """Build a layer for inputs of the given shape.

    Args:
        name: name of the layer in `LAYERS`.
        arguments: its arguments; the inferred one may be missing.
        shape: shape of one input, not counting the batch.
        where: key of the entry, for messages.

    Returns:
        The layer, and the shape of one output.

    Raises:
        ValueError: the layer cannot be built, or cannot be applied to such an input.
    """
    kind = LAYERS[name]
    if kind.inferred is not None:
        arguments = {kind.inferred: shape[kind.axis], **arguments}
    try:
        with torch.device("meta"), torch.inference_mode():  # allocates no memory and draws no random numbers
            outputs = kind.make(**arguments).eval()(torch.empty(2, *shape))
        layer = kind.make(**arguments)
    except Exception as error:
        raise ValueError(
            f"{where}: cannot apply {name} with {arguments} to an input of shape {shape}: {error}"
        ) from error
    if not isinstance(outputs, Tensor) or outputs.shape[:1] != (2,):
        raise ValueError(
            f"{where}: {name} with {arguments} does not return a tensor with the batch as its first dimension"
        )
    return layer, tuple(outputs.shape[1:])
