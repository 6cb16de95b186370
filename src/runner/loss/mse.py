"""Mean squared error, `torch.nn.MSELoss`."""

from torch import nn

from runner.registry import LOSSES

DEPRECATED = ("size_average", "reduce")

LOSSES.register("mse", targets="values", hide=DEPRECATED)(nn.MSELoss)
