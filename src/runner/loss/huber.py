"""Huber loss, `torch.nn.HuberLoss`."""

from torch import nn

from runner.registry import LOSSES

LOSSES.register("huber", targets="values")(nn.HuberLoss)
