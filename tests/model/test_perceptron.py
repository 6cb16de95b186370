import pytest
import torch

from runner.model.perceptron import Linear, Perceptron
from runner.registry import MODELS


def test_parameter_names_and_shapes() -> None:
    model: Perceptron = MODELS.build("perceptron", {"hidden": 4}, in_shape=(3,), out_features=1)
    assert {name: tuple(parameter.shape) for name, parameter in model.named_parameters()} == {
        "layer1.W": (3, 4),
        "layer1.b": (4,),
        "layer2.W": (4, 1),
        "layer2.b": (1,),
    }
    assert model(torch.rand(2, 3)).shape == (2, 1)


def test_forward_matches_explicit_computation() -> None:
    model, inputs = Perceptron((1, 3), 2), torch.randn(5, 1, 3)
    x = inputs.reshape(5, 3) @ model.layer1.W + model.layer1.b
    x = 1 / (1 + torch.exp(-x))
    torch.testing.assert_close(model(inputs), x @ model.layer2.W + model.layer2.b)


def test_parameters_are_standard_normal() -> None:
    torch.manual_seed(0)
    layer = Linear(300, 300)
    for drawn in (layer.W.detach().flatten(), Linear(1, 90_000).b.detach()):
        assert abs(drawn.mean()) < 0.02
        assert abs(drawn.std() - 1) < 0.02
        assert abs((drawn.abs() < 1).float().mean() - 0.6827) < 0.01


def test_hidden_below_one_raises() -> None:
    with pytest.raises(ValueError, match="hidden must be at least 1, found 0"):
        Perceptron((3,), 1, hidden=0)
