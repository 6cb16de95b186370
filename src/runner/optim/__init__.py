"""Optimizers, registered as torch has them."""

from torch import optim

from runner.registry import OPTIMIZERS

OPTIMIZERS.register("sgd")(optim.SGD)
OPTIMIZERS.register("adam")(optim.Adam)
