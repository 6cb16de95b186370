"""Recurrent networks: RNN, LSTM and GRU."""

from math import prod

import torch
from torch import Tensor, nn

from runner.model.dropout import Dropout
from runner.registry import MODELS


class Recurrent(nn.Module):
    """Recurrent layers with a linear layer on the final hidden state of each direction.

    Args:
        in_shape: shape of one input. An image (C, H, W) is a sequence of H rows with C * W features each, a series
            (T, F) is a sequence of T steps with F features each, and a vector (T,) is T steps with one feature.
        out_features: number of outputs.
        hidden_size: number of features in the hidden state of each layer and direction.
        layers: number of stacked recurrent layers.
        bidirectional: whether to process the sequence in both directions.
        dropout: probability of zeroing an element between the recurrent layers and before the linear layer, during
            training.

    Shapes:
        Input: [B, *in_shape].
        Output: [B, out_features].

    Raises:
        ValueError: `in_shape` does not have one to three dimensions.
        ValueError: `hidden_size` or `layers` is below 1.
        ValueError: `dropout` is not in [0, 1].

    Source:
        Bidirectional layers: Schuster and Paliwal 1997.
    """

    kind: type[nn.RNN] | type[nn.LSTM] | type[nn.GRU]

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_features: int,
        hidden_size: int = 128,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if len(in_shape) not in (1, 2, 3):
            raise ValueError(f"needs inputs of shape (C, H, W), (T, F) or (T,), found {tuple(in_shape)}")
        if min(hidden_size, layers) < 1:
            raise ValueError(f"hidden_size and layers must be at least 1, found {hidden_size} and {layers}")
        steps = in_shape[1] if len(in_shape) == 3 else in_shape[0]
        self.recurrent = self.kind(
            prod(in_shape) // steps,
            hidden_size,
            layers,
            batch_first=True,
            bidirectional=bidirectional,
            dropout=dropout if layers > 1 else 0.0,  # torch warns if dropout is set for a single layer
        )
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(2 * hidden_size if bidirectional else hidden_size, out_features)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs, _ = self.recurrent(as_steps(inputs))
        if self.recurrent.bidirectional:  # the final hidden state of the backward direction is at the first step
            forward, backward = outputs.chunk(2, dim=2)
            end = torch.cat([forward[:, -1], backward[:, 0]], dim=1)
        else:
            end = outputs[:, -1]
        return self.head(self.dropout(end))


def as_steps(inputs: Tensor) -> Tensor:
    """Return the inputs as sequences [B, steps, features].

    Shapes:
        Input: images [B, C, H, W], series [B, T, F] or vectors [B, T].
        Output: [B, H, C * W], [B, T, F] or [B, T, 1].
    """
    if inputs.ndim == 4:
        return inputs.transpose(1, 2).flatten(2)
    return inputs if inputs.ndim == 3 else inputs.unsqueeze(2)


@MODELS.register("rnn")
class RNN(Recurrent):
    """Elman RNN: the hidden state is tanh(W x + U h + b) at each step.

    See `Recurrent` for the arguments, shapes and errors.

    Source:
        Elman 1990, "Finding Structure in Time".
    """

    kind = nn.RNN


@MODELS.register("lstm")
class LSTM(Recurrent):
    """Long short-term memory (LSTM) network.

    See `Recurrent` for the arguments, shapes and errors.

    Source:
        Hochreiter and Schmidhuber 1997, "Long Short-Term Memory".
        Forget gate: Gers et al. 2000, "Learning to Forget: Continual Prediction with LSTM".
    """

    kind = nn.LSTM


@MODELS.register("gru")
class GRU(Recurrent):
    """Gated recurrent unit (GRU) network: like an LSTM, with two gates and no separate cell state.

    See `Recurrent` for the arguments, shapes and errors.

    Source:
        Cho et al. 2014, "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine
        Translation", section 2.3.
    """

    kind = nn.GRU
