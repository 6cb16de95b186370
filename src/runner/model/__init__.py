"""Models: ordinary modules that map a batch of inputs [B, *in_shape] to outputs [B, out_features]."""

from runner.model import (
    cnn,
    lenet,
    line,
    mlp,
    mnist_cnn,
    perceptron,
    recurrent,
    sequential,
    single_conv,
    torchvision,
)

__all__ = [
    "cnn",
    "lenet",
    "line",
    "mlp",
    "mnist_cnn",
    "perceptron",
    "recurrent",
    "sequential",
    "single_conv",
    "torchvision",
]
