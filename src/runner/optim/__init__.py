"""Optimizers: those of torch as they are, and gradient descent by hand.

torch's SparseAdam is left out: it takes sparse gradients only, which no model here has.
"""

from torch import optim

from runner.dynamo import import_when_needed
from runner.labels import label_when_profiled
from runner.optim import gradient_descent
from runner.registry import OPTIMIZERS

__all__ = ["gradient_descent"]

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
import_when_needed()
label_when_profiled()
for name, optimizer in TORCHS.items():
    OPTIMIZERS.register(name, contiguous=name == "lbfgs")(optimizer)  # it sees all gradients as one vector
