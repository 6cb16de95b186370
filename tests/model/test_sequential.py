from typing import Any

import pytest
import torch
from torch import nn

from runner.model.sequential import LAYERS, Sequential
from runner.registry import MODELS

PICTURE = (1, 8, 8)
# For each layer: its value in the list, an input shape, and the expected torch module.
EACH: dict[str, tuple[Any, tuple[int, ...], nn.Module]] = {
    "linear": (5, (7,), nn.Linear(7, 5)),
    "conv1d": ({"out_channels": 2, "kernel_size": 3}, (3, 8), nn.Conv1d(3, 2, 3)),
    "conv2d": (
        {"out_channels": 2, "kernel_size": [3, 1], "bias": False},
        (3, 8, 8),
        nn.Conv2d(3, 2, (3, 1), bias=False),
    ),
    "batch_norm1d": (None, (7,), nn.BatchNorm1d(7)),
    "batch_norm2d": (None, (3, 8, 8), nn.BatchNorm2d(3)),
    "group_norm": (2, (4, 8, 8), nn.GroupNorm(2, 4)),
    "layer_norm": (None, (5, 7), nn.LayerNorm(7)),
    "dropout": (0.25, (7,), nn.Dropout(0.25)),
    "dropout2d": (0.25, (3, 8, 8), nn.Dropout2d(0.25)),
    "relu": (None, (7,), nn.ReLU()),
    "leaky_relu": (0.2, (7,), nn.LeakyReLU(0.2)),
    "elu": (0.5, (7,), nn.ELU(0.5)),
    "silu": (None, (7,), nn.SiLU()),
    "gelu": ({"approximate": "tanh"}, (7,), nn.GELU("tanh")),
    "sigmoid": (None, (7,), nn.Sigmoid()),
    "tanh": (None, (7,), nn.Tanh()),
    "softmax": (None, (7,), nn.Softmax(1)),
    "log_softmax": (None, (3, 7), nn.LogSoftmax(1)),
    "max_pool1d": (2, (3, 8), nn.MaxPool1d(2)),
    "max_pool2d": ({"kernel_size": 3, "ceil_mode": True}, (3, 8, 8), nn.MaxPool2d(3, ceil_mode=True)),
    "avg_pool1d": (2, (3, 8), nn.AvgPool1d(2)),
    "avg_pool2d": ({"kernel_size": 3, "ceil_mode": True}, (3, 8, 8), nn.AvgPool2d(3, ceil_mode=True)),
    "adaptive_avg_pool1d": (2, (3, 8), nn.AdaptiveAvgPool1d(2)),
    "adaptive_avg_pool2d": ([2, 3], (3, 8, 8), nn.AdaptiveAvgPool2d((2, 3))),
    "adaptive_max_pool2d": (2, (3, 8, 8), nn.AdaptiveMaxPool2d(2)),
    "flatten": (2, (3, 8, 8), nn.Flatten(2)),
    "unflatten": ([1, 7], (7,), nn.Unflatten(1, (1, 7))),
}


def test_every_layer_is_tested() -> None:
    assert EACH.keys() == LAYERS.keys()


@pytest.mark.parametrize("name", EACH)
def test_layer_matches_torch_module_with_inferred_size(name: str) -> None:
    given, in_shape, expected = EACH[name]
    outputs = expected.eval()(torch.rand(2, *in_shape)).flatten(1).shape[1]
    model = Sequential(in_shape, outputs, [name if given is None else {name: given}, "flatten"]).eval()
    model.layers[0].load_state_dict(expected.state_dict())
    inputs = torch.rand(2, *in_shape)
    torch.testing.assert_close(model(inputs), expected(inputs).flatten(1))
    assert str(model.layers[0]).replace("[", "(").replace("]", ")") == str(expected)


def test_equals_torch_sequential_bitwise() -> None:
    layers: list[str | dict[str, Any]] = [
        {"conv2d": {"out_channels": 8, "kernel_size": 3}},
        "batch_norm2d",
        "relu",
        {"max_pool2d": 2},
        "flatten",
        {"linear": 64},
        "relu",
        {"linear": "out"},
    ]
    torch.manual_seed(0)
    model: Sequential = MODELS.build("sequential", {"layers": layers}, in_shape=(3, 9, 8), out_features=10)
    torch.manual_seed(0)
    written = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 3 * 3, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
    inputs = torch.rand(2, 3, 9, 8)
    assert torch.equal(model(inputs), written(inputs))


@pytest.mark.parametrize(
    ("pool", "pooled"), [("max_pool2d", [3.0, 2, 5, 1]), ("avg_pool2d", [11 / 9, 5 / 6, 13 / 6, 1])]
)
def test_ceil_mode_keeps_border(pool: str, pooled: list[float]) -> None:
    picture = torch.tensor([[1.0, 2, 0, 2, 1], [0, 1, 3, 1, 1], [1, 2, 1, 0, 0], [5, 2, 3, 1, 1], [2, 1, 0, 1, 1]])
    model = Sequential((1, 5, 5), 4, [{pool: {"kernel_size": 3, "ceil_mode": True}}, "flatten"])
    torch.testing.assert_close(model(picture.expand(1, 1, 5, 5)), torch.tensor([pooled]))


def test_given_size_is_not_inferred() -> None:
    model = Sequential((3, 8), 24, [{"layer_norm": {"normalized_shape": [3, 8]}}, "flatten"])
    assert model.layers[0].normalized_shape == (3, 8)


def test_out_is_replaced_in_named_arguments() -> None:
    layers: list[str | dict[str, Any]] = [
        {"conv2d": {"out_channels": "out", "kernel_size": 1}},
        {"adaptive_avg_pool2d": 1},
        "flatten",
    ]
    assert Sequential(PICTURE, 10, layers)(torch.rand(2, *PICTURE)).shape == (2, 10)


def test_dropout_is_inactive_in_eval_mode() -> None:
    model, inputs = Sequential((7,), 7, [{"dropout": 0.5}]), torch.rand(9, 7)
    assert not torch.equal(model(inputs), inputs)
    assert torch.equal(model.eval()(inputs), inputs)


def test_builds_on_the_meta_device() -> None:
    with torch.device("meta"):
        model = Sequential(
            PICTURE, 10, [{"conv2d": {"out_channels": 8, "kernel_size": 3}}, "flatten", {"linear": "out"}]
        )
        assert model(torch.empty(2, *PICTURE)).shape == (2, 10)


@pytest.mark.parametrize(
    ("layer", "problem"),
    [
        ("maxpool2d", r"layers\[1\]: found 'maxpool2d'; allowed: .* Did you mean max_pool2d\?"),
        ({"torch.nn.Linear": 3}, r"layers\[1\]: found 'torch.nn.Linear'; allowed: "),
        ({"linear": 3, "relu": None}, r"layers\[1\]: needs exactly one layer, found linear, relu"),
        ({}, r"layers\[1\]: needs exactly one layer, found none"),
        ({"tanh": 3}, r"layers\[1\].tanh: found 3; give its arguments by name, allowed: none"),
        ({"relu": 3}, r"layers\[1\].relu: found 3; give its arguments by name, allowed: inplace"),
        (
            {"conv2d": {"out_channels": 3, "kernel": 3}},
            r"layers\[1\].conv2d.kernel: no such argument; .* Did you mean kernel_size\?",
        ),
        ({"linear": {"out_features": 3, "device": "cpu"}}, r"layers\[1\].linear.device: no such argument"),
        ({"conv2d": {"out_channels": 3}}, r"layers\[1\].conv2d.kernel_size: missing"),
        ({"dropout": 1.5}, r"layers\[1\]: cannot apply dropout with \{'p': 1.5\} .* between 0 and 1"),
        ({"linear": "wide"}, r"layers\[1\]: cannot apply linear with \{'in_features': 8, 'out_features': 'wide'\}"),
        (
            {"conv2d": {"out_channels": 3, "kernel_size": 9}},
            r"layers\[1\]: cannot apply conv2d .* to an input of shape \(1, 8, 8\): .*Kernel size can't be greater",
        ),
        ({"flatten": 0}, r"layers\[1\]: flatten .* does not return a tensor with the batch as its first"),
        ({1: 2}, r"layers\[1\]: found 1; allowed: "),
        ({"linear": {1: 2}}, r"layers\[1\].linear.1: no such argument"),
        ({"linear": 0}, r"layers\[1\].linear.out_features: found 0; each value must be an integer >= 1"),
        ({"linear": True}, r"layers\[1\].linear.out_features: found True; each value must be an integer >= 1"),
        (
            {"conv2d": {"out_channels": 3, "kernel_size": 3, "padding": [0, -1]}},
            r"layers\[1\].conv2d.padding: found \[0, -1\]; each value must be an integer >= 0",
        ),
        (
            {"max_pool2d": [2]},
            r"layers\[1\].max_pool2d.kernel_size: found \[2\]; needs a list of length 2, or one integer",
        ),
        (
            {"max_pool2d": {"kernel_size": 2, "return_indices": True}},
            r"layers\[1\]: max_pool2d .* does not return a tensor",
        ),
    ],
)
def test_invalid_layer_raises_with_its_index(layer: str | dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Sequential(PICTURE, 10, ["relu", layer, "flatten", {"linear": "out"}])


def test_wrong_output_shape_raises() -> None:
    problem = (
        r"map an input of shape \(1, 8, 8\) to \(64,\), expected \(10,\); end the list with: flatten, \{linear: out\}"
    )
    with pytest.raises(ValueError, match=problem):
        Sequential(PICTURE, 10, ["flatten"])
