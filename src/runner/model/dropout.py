"""Dropout that does not wait for random numbers."""

import torch
from torch import Tensor, nn

LEVELS = 1 << 16


class Dropout(nn.Dropout):
    """`torch.nn.Dropout`, several times as fast on the CPU: it cuts each random number into four of 16 bits.

    The share of values that are dropped is rounded to 1 / 65,536, and what stays is scaled by just that share
    (Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting").

    Shapes:
        any [*] to the same [*].
    """

    def forward(self, inputs: Tensor) -> Tensor:
        kept = round((1 - self.p) * LEVELS)
        dense = inputs.is_contiguous() or inputs.is_contiguous(memory_format=torch.channels_last)
        if not self.training or not 0 < kept < LEVELS or inputs.device.type != "cpu" or not dense:
            return super().forward(inputs)
        numbers = torch.empty(-(-inputs.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None).view(torch.int16)
        mask = (numbers < kept - LEVELS // 2).as_strided(inputs.size(), inputs.stride())
        return inputs * mask.to(inputs.dtype).mul_(LEVELS / kept)
