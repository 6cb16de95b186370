"""The perceptron with one hidden layer, down to the linear layer written by hand."""

from math import prod

import torch
from torch import Tensor, nn

from runner.registry import MODELS


class Linear(nn.Module):
    """x @ W + b, with W and b drawn from the standard normal distribution.

    Args:
        in_features, out_features: numbers in one input and in one output.

    Shapes:
        inputs [B, in_features] to outputs [B, out_features]; W is (in_features, out_features), b is (out_features).
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(in_features, out_features))
        self.b = nn.Parameter(torch.randn(out_features))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs @ self.W + self.b


@MODELS.register("perceptron")
class Perceptron(nn.Module):
    """Two linear layers with a sigmoid between them (Rumelhart, Hinton and Williams 1986).

    Args:
        in_shape: shape of one input; it is flattened.
        out_features: number of outputs.
        hidden: outputs of the first layer.

    Shapes:
        inputs [B, *in_shape] to outputs [B, out_features].

    Raises:
        ValueError: hidden is below 1.
    """

    def __init__(self, in_shape: tuple[int, ...], out_features: int, hidden: int = 4) -> None:
        super().__init__()
        if hidden < 1:
            raise ValueError(f"hidden must be at least 1, found {hidden}")
        self.layer1 = Linear(prod(in_shape), hidden)
        self.layer2 = Linear(hidden, out_features)

    def forward(self, inputs: Tensor) -> Tensor:
        x = torch.sigmoid(self.layer1(inputs.flatten(1)))
        outputs: Tensor = self.layer2(x)
        return outputs
