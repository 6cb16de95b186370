"""Huber's loss: squares of small errors, absolute values of large ones, as torch has it."""

from torch import nn

from runner.registry import LOSSES

LOSSES.register("huber", targets="values")(nn.HuberLoss)
