"""Mean absolute error, as torch has it."""

from torch import nn

from runner.loss.mse import DEPRECATED
from runner.registry import LOSSES

LOSSES.register("l1", targets="values", hide=DEPRECATED)(nn.L1Loss)
