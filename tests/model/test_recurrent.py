from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from runner.model.recurrent import GRU, LSTM, RNN, Recurrent, as_steps
from runner.registry import MODELS

KINDS = [("rnn", RNN, 1), ("lstm", LSTM, 4), ("gru", GRU, 3)]


@pytest.mark.parametrize(("name", "kind", "gates"), KINDS)
def test_parameter_shapes(name: str, kind: type[Recurrent], gates: int) -> None:
    model = MODELS.build(name, {"hidden_size": 6}, in_shape=(1, 8, 5), out_features=3)
    assert type(model) is kind
    assert {name: tuple(parameter.shape) for name, parameter in model.named_parameters()} == {
        "recurrent.weight_ih_l0": (gates * 6, 5),
        "recurrent.weight_hh_l0": (gates * 6, 6),
        "recurrent.bias_ih_l0": (gates * 6,),
        "recurrent.bias_hh_l0": (gates * 6,),
        "head.weight": (3, 6),
        "head.bias": (3,),
    }


def test_rnn_matches_explicit_recurrence() -> None:
    model, series = RNN((4, 2), 3, hidden_size=5), torch.randn(7, 4, 2)
    w, u, b, c, v, d = model.parameters()
    state = torch.zeros(7, 5)
    for step in range(4):
        state = torch.tanh(series[:, step] @ w.T + b + state @ u.T + c)
    torch.testing.assert_close(model(series), state @ v.T + d)


def test_image_becomes_a_sequence_of_rows() -> None:
    images = torch.arange(2 * 3 * 4 * 5).view(2, 3, 4, 5)
    steps = as_steps(images)
    assert steps.shape == (2, 4, 15)
    assert steps[1, 2].tolist() == images[1, :, 2].flatten().tolist()


def test_series_is_unchanged_and_vector_gets_one_feature() -> None:
    series = torch.rand(2, 6, 3)
    assert as_steps(series) is series
    assert torch.equal(as_steps(series[:, :, 0]), series[:, :, :1])


@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
@pytest.mark.parametrize("in_shape", [(3, 8, 5), (9, 2), (7,)])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_accepts_images_and_series(kind: type[Recurrent], in_shape: tuple[int, ...], bidirectional: bool) -> None:
    model = kind(in_shape, 4, hidden_size=6, layers=2, bidirectional=bidirectional, dropout=0.5)
    assert model(torch.rand(2, *in_shape)).shape == (2, 4)
    with torch.device("meta"):
        model = kind(in_shape, 4, hidden_size=6, layers=2, bidirectional=bidirectional, dropout=0.5)
        assert model(torch.empty(2, *in_shape)).shape == (2, 4)


@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
def test_bidirectional_uses_final_state_of_each_direction(kind: type[Recurrent]) -> None:
    model, series = kind((6, 2), 3, hidden_size=5, bidirectional=True), torch.randn(4, 6, 2)
    _, state = model.recurrent(series)
    hidden = state[0] if isinstance(state, tuple) else state
    torch.testing.assert_close(model(series), model.head(torch.cat([hidden[0], hidden[1]], dim=1)))


def test_dropout_is_active_between_layers_and_before_head_in_training_only() -> None:
    assert RNN((6, 2), 3, layers=2, dropout=0.5).recurrent.dropout == 0.5
    model, series = RNN((6, 2), 3, dropout=0.5), torch.randn(4, 6, 2)  # must not warn with a single layer
    assert not torch.equal(model(series), model(series))
    model.eval()
    assert torch.equal(model(series), model(series))


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"hidden_size": 0}, "hidden_size and layers must be at least 1, found 0 and 1"),
        ({"layers": 0}, "hidden_size and layers must be at least 1, found 128 and 0"),
        ({"dropout": 1.5}, "dropout probability has to be between 0 and 1"),
        ({"in_shape": (1, 2, 3, 4)}, r"needs inputs of shape \(C, H, W\), \(T, F\) or \(T,\), found \(1, 2, 3, 4\)"),
    ],
)
def test_invalid_arguments_raise(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        LSTM(**{"in_shape": (1, 8, 8), "out_features": 3, **values})


@pytest.mark.slow
@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
def test_learns_digits(kind: type[Recurrent]) -> None:
    from sklearn.datasets import load_digits

    torch.manual_seed(0)
    pixels, classes = load_digits(return_X_y=True)
    order = torch.randperm(len(classes))
    images = torch.from_numpy(pixels).float().view(-1, 1, 8, 8)[order] / 16
    targets = torch.from_numpy(classes)[order]
    model: nn.Module = kind((1, 8, 8), 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(40):
        for chosen in torch.randperm(1400).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(images[chosen]), targets[chosen]).backward()
            optimizer.step()
    with torch.inference_mode():
        accuracy = (model(images[1400:]).argmax(1) == targets[1400:]).float().mean()
    assert accuracy >= 0.95
