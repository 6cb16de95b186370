"""A perceptron with one hidden layer, built from a hand-written linear layer."""

from math import prod

import torch
from torch import Tensor, nn

from runner.registry import MODELS


class Linear(nn.Module):
    """Linear layer, x @ W + b, with W and b drawn from the standard normal distribution.

    Args:
        in_features: size of each input.
        out_features: size of each output.

    Shapes:
        Input: [B, in_features].
        Output: [B, out_features].
        W: [in_features, out_features].
        b: [out_features].
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(in_features, out_features))
        self.b = nn.Parameter(torch.randn(out_features))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs @ self.W + self.b


@MODELS.register("perceptron")
class Perceptron(nn.Module):
    """Two linear layers with a sigmoid in between.

    Args:
        in_shape: shape of one input, which is flattened.
        out_features: number of outputs.
        hidden: number of hidden units.

    Shapes:
        Input: [B, *in_shape].
        Output: [B, out_features].

    Raises:
        ValueError: `hidden` is below 1.

    Source:
        Rumelhart, Hinton and Williams 1986, "Learning representations by back-propagating errors".
    """

    def __init__(self, in_shape: tuple[int, ...], out_features: int, hidden: int = 4) -> None:
        super().__init__()
        if hidden < 1:
            raise ValueError(f"hidden must be at least 1, found {hidden}")
        self.layer1 = Linear(prod(in_shape), hidden)
        self.layer2 = Linear(hidden, out_features)

    def forward(self, inputs: Tensor) -> Tensor:
        x = torch.sigmoid(self.layer1(inputs.flatten(1)))
        return self.layer2(x)
