import pytest
import torch
from torch import nn

from runner.model.mlp import MLP
from runner.registry import MODELS


def kinds(model: MLP) -> list[str]:
    return [type(layer).__name__ for layer in model]


def test_forward_matches_functional_implementation() -> None:
    model = MLP((1, 2, 3), 4, hidden=[5, 7])
    w1, b1, w2, b2, w3, b3 = model.parameters()
    inputs = torch.randn(8, 1, 2, 3)
    x = (inputs.reshape(8, 6) @ w1.T + b1).clamp(min=0)
    x = (x @ w2.T + b2).clamp(min=0)
    torch.testing.assert_close(model(inputs), x @ w3.T + b3)


def test_model_without_hidden_layers_is_linear() -> None:
    assert kinds(MLP((6,), 4, hidden=[])) == ["Linear"]
    assert kinds(MLP((1, 2, 3), 4, hidden=[])) == ["Flatten", "Linear"]


@pytest.mark.parametrize(
    ("activation", "kind"),
    [
        ("relu", nn.ReLU),
        ("leaky_relu", nn.LeakyReLU),
        ("gelu", nn.GELU),
        ("silu", nn.SiLU),
        ("elu", nn.ELU),
        ("tanh", nn.Tanh),
        ("sigmoid", nn.Sigmoid),
    ],
)
def test_activation_uses_torch_module(activation: str, kind: type[nn.Module]) -> None:
    model: MLP = MODELS.build("mlp", {"hidden": [5], "activation": activation}, in_shape=(6,), out_features=4)
    assert type(model[1]) is kind


@pytest.mark.parametrize(("norm", "kind"), [("batch", "BatchNorm1d"), ("layer", "LayerNorm")])
def test_normalization_precedes_activation_and_dropout_follows_it(norm: str, kind: str) -> None:
    model: MLP = MODELS.build("mlp", {"hidden": [5], "norm": norm, "dropout": 0.5}, in_shape=(6,), out_features=4)
    assert kinds(model) == ["Linear", kind, "ReLU", "Dropout", "Linear"]
    assert model(torch.rand(3, 6)).shape == (3, 4)


def test_dropout_is_inactive_in_eval_mode() -> None:
    model, inputs = MLP((6,), 4, hidden=[50], dropout=0.5), torch.rand(3, 6)
    assert not torch.equal(model(inputs), model(inputs))
    model.eval()
    assert torch.equal(model(inputs), model(inputs))


@pytest.mark.parametrize("dropout", [-0.1, 1.5])
def test_invalid_dropout_raises(dropout: float) -> None:
    with pytest.raises(ValueError, match="dropout probability has to be between 0 and 1"):
        MLP((6,), 4, hidden=[5], dropout=dropout)


def test_hidden_width_below_one_raises() -> None:
    with pytest.raises(ValueError, match=r"hidden must be at least 1 for each layer, found \[5, 0\]"):
        MLP((6,), 4, hidden=[5, 0])


@pytest.mark.parametrize(
    ("in_shape", "out_features", "hidden", "shapes"),
    [
        ((256,), 512, [], [(512, 256), (512,)]),
        ((1, 28, 28), 10, [128], [(128, 784), (128,), (10, 128), (10,)]),
        ((1,), 1, [2], [(2, 1), (2,), (1, 2), (1,)]),
    ],
)
def test_reproduces_tutorial_networks(
    in_shape: tuple[int, ...], out_features: int, hidden: list[int], shapes: list[tuple[int, ...]]
) -> None:
    model = MLP(in_shape, out_features, hidden=hidden, activation="sigmoid", dropout=0.5)
    assert [tuple(parameter.shape) for parameter in model.parameters()] == shapes
    assert model(torch.rand(2, *in_shape)).shape == (2, out_features)
