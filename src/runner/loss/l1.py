"""Mean absolute error, `torch.nn.L1Loss`."""

from torch import nn

from runner.loss.mse import DEPRECATED
from runner.registry import LOSSES

LOSSES.register("l1", targets="values", hide=DEPRECATED)(nn.L1Loss)
