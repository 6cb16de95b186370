"""Optimizers: those of torch as they are, and gradient descent by hand.

torch's SparseAdam is left out: it takes sparse gradients only, which no model here has.
"""

from torch import optim

from runner.registry import OPTIMIZERS

TORCHS: dict[str, type[optim.Optimizer]] = {
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
for name, optimizer in TORCHS.items():
    OPTIMIZERS.register(name, contiguous=name == "lbfgs")(optimizer)  # it sees all gradients as one vector
