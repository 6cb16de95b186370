"""Recurrent networks, which read their input step by step: plain, with long short-term memory, with gates."""

from math import prod

import torch
from torch import Tensor, nn

from runner.model.dropout import Dropout
from runner.registry import MODELS


class Recurrent(nn.Module):
    """Recurrent layers, and a linear layer on what each direction has at the end of its reading.

    Args:
        in_shape: of one input. An image (C, H, W) is read row by row: H steps of C * W numbers; a series (T, F) is T
            steps of F numbers, and (F,) is F steps of one.
        out_features: number of outputs.
        hidden_size: numbers in the state of a layer, in each direction.
        layers: recurrent layers; each reads what the one below says.
        bidirectional: a second reading from the last step to the first (Schuster and Paliwal 1997).
        dropout: share of values set to zero between layers and before the linear layer, in training.

    Shapes:
        inputs [B, *in_shape] to outputs [B, out_features].

    Raises:
        ValueError: the input has no steps to read, hidden_size or layers is below 1, or dropout is not a share.
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
            raise ValueError(f"needs inputs of shape (C, H, W), (T, F) or (F,), found {tuple(in_shape)}")
        if min(hidden_size, layers) < 1:
            raise ValueError(f"hidden_size and layers must be at least 1, found {hidden_size} and {layers}")
        steps = in_shape[1] if len(in_shape) == 3 else in_shape[0]
        self.recurrent = self.kind(
            prod(in_shape) // steps,
            hidden_size,
            layers,
            batch_first=True,
            bidirectional=bidirectional,
            dropout=dropout if layers > 1 else 0.0,  # torch's own is between layers alone, and warns where none is
        )
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(2 * hidden_size if bidirectional else hidden_size, out_features)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs, _ = self.recurrent(as_steps(inputs))
        if self.recurrent.bidirectional:  # the second reading ends at the first step
            forward, backward = outputs.chunk(2, dim=2)
            end = torch.cat([forward[:, -1], backward[:, 0]], dim=1)
        else:
            end = outputs[:, -1]
        logits: Tensor = self.head(self.dropout(end))
        return logits


def as_steps(inputs: Tensor) -> Tensor:
    """Images [B, C, H, W], series [B, T, F] or [B, F] as steps: [B, H, C * W], [B, T, F] or [B, F, 1]."""
    if inputs.ndim == 4:
        return inputs.transpose(1, 2).flatten(2)
    return inputs if inputs.ndim == 3 else inputs.unsqueeze(2)


@MODELS.register("rnn")
class RNN(Recurrent):
    """The plain recurrent network: its state is tanh(W x + U h + b) at each step (Elman 1990).

    Args, shapes and what is raised: as of `Recurrent`.
    """

    kind = nn.RNN


@MODELS.register("lstm")
class LSTM(Recurrent):
    """Long short-term memory: gates decide what its cells keep (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

    Args, shapes and what is raised: as of `Recurrent`.
    """

    kind = nn.LSTM


@MODELS.register("gru")
class GRU(Recurrent):
    """The gated recurrent unit: like lstm, with two gates and no cells (Cho et al. 2014, section 2.3).

    Args, shapes and what is raised: as of `Recurrent`.
    """

    kind = nn.GRU
