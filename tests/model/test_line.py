import torch

from runner.model.line import Line
from runner.registry import MODELS


def test_parameters_w_and_b_are_initialized_to_zero() -> None:
    model = Line((1,), 1)
    assert {name: parameter.tolist() for name, parameter in model.named_parameters()} == {"w": [[0.0]], "b": [0.0]}


def test_computes_straight_line() -> None:
    model = Line((1,), 1)
    with torch.no_grad():
        model.w.fill_(2)
        model.b.fill_(3)
    torch.testing.assert_close(model(torch.tensor([[0.0], [0.5], [-4.0]])), torch.tensor([[3.0], [4.0], [-5.0]]))


def test_accepts_multiple_inputs_and_outputs() -> None:
    model = Line((1, 2, 3), 4)
    with torch.no_grad():
        model.w.normal_()
        model.b.normal_()
    inputs = torch.randn(5, 1, 2, 3)
    torch.testing.assert_close(model(inputs), torch.einsum("bi,io->bo", inputs.reshape(5, 6), model.w) + model.b)


def test_builds_from_registry() -> None:
    assert isinstance(MODELS.build("line", {}, in_shape=(1,), out_features=1), Line)
