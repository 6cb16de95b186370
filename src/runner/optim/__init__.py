"""Optimizers: those of torch.optim, and hand-written gradient descent.

SparseAdam is not included, because it supports only sparse gradients, which no model here has.
"""

from torch import optim

from runner.registry import OPTIMIZERS

TORCH: dict[str, type[optim.Optimizer]] = {
    "adadelta": optim.Adadelta,
    "adafactor": optim.Adafactor,
    "adagrad": optim.Adagrad,
    "adam": optim.Adam,
    "adamax": optim.Adamax,
    "adamw": optim.AdamW,
    "asgd": optim.ASGD,
    "lbfgs": optim.LBFGS,
    "muon": optim.Muon,
    "nadam": optim.NAdam,
    "radam": optim.RAdam,
    "rmsprop": optim.RMSprop,
    "rprop": optim.Rprop,
    "sgd": optim.SGD,
}
for name, optimizer in TORCH.items():
    OPTIMIZERS.register(name, contiguous=name == "lbfgs")(optimizer)  # it calls view(-1) on each gradient
