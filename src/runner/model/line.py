"""Linear regression."""

from math import prod

import torch
from torch import Tensor, nn

from runner.registry import MODELS


@MODELS.register("line")
class Line(nn.Module):
    """Linear regression, y = x @ w + b, with w and b initialized to zero.

    Args:
        in_shape: shape of one input, which is flattened; (1,) gives a straight line.
        out_features: number of outputs.

    Shapes:
        Input: [B, *in_shape].
        Output: [B, out_features].
        w: [prod(in_shape), out_features].
        b: [out_features].
    """

    def __init__(self, in_shape: tuple[int, ...], out_features: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(prod(in_shape), out_features))
        self.b = nn.Parameter(torch.zeros(out_features))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(1) @ self.w + self.b
