"""Dropout with a faster random mask on the CPU."""

import math

import torch
from torch import Tensor, nn

LEVELS = 1 << 16  # values that a 16-bit random number can take


class Dropout(nn.Dropout):
    """A drop-in replacement for `torch.nn.Dropout` that is faster on the CPU.

    Each 64-bit random number is split into four 16-bit ones, so the drop probability is rounded to a multiple of
    1/65,536. The kept elements are scaled by the inverse of the rounded keep probability. Other devices and
    non-dense inputs use `torch.nn.Dropout`.

    Shapes:
        Input: [*].
        Output: [*], the same shape.

    Source:
        Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting".
    """

    def forward(self, inputs: Tensor) -> Tensor:
        kept = round((1 - self.p) * LEVELS)
        dense = inputs.is_contiguous() or inputs.is_contiguous(memory_format=torch.channels_last)
        if not self.training or not 0 < kept < LEVELS or inputs.device.type != "cpu" or not dense:
            return super().forward(inputs)
        numbers = torch.empty(math.ceil(inputs.numel() / 4), dtype=torch.int64)
        numbers = numbers.random_(-(1 << 63), None).view(torch.int16)
        mask = (numbers < kept - LEVELS // 2).as_strided(inputs.size(), inputs.stride())
        return inputs * mask.to(inputs.dtype).mul_(LEVELS / kept)
