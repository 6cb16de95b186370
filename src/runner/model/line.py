"""The straight line."""

from math import prod

import torch
from torch import Tensor, nn

from runner.registry import MODELS


@MODELS.register("line")
class Line(nn.Module):
    """y = w * x + b, starting at w = 0 and b = 0: linear regression.

    Args:
        in_shape: shape of one input; it is flattened. (1,) makes a line, more numbers make a plane.
        out_features: number of outputs.

    Shapes:
        inputs [B, *in_shape] to outputs [B, out_features]; w is (inputs, out_features), b is (out_features).
    """

    def __init__(self, in_shape: tuple[int, ...], out_features: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(prod(in_shape), out_features))
        self.b = nn.Parameter(torch.zeros(out_features))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(1) @ self.w + self.b
