"""The multilayer perceptron."""

from math import prod
from typing import Literal

from torch import nn

from runner.model.activation import ACTIVATIONS, Activation
from runner.model.dropout import Dropout
from runner.registry import MODELS

NORMS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


@MODELS.register("mlp")
class MLP(nn.Sequential):
    """Multilayer perceptron: linear layers with activations, optional normalization and dropout.

    Args:
        in_shape: shape of one input, which is flattened.
        out_features: number of outputs.
        hidden: width of each hidden layer; an empty list gives a linear model.
        activation: activation function after each hidden layer.
        norm: normalization between each hidden layer and its activation.
        dropout: probability of zeroing a hidden unit during training.

    Shapes:
        Input: [B, *in_shape].
        Output: [B, out_features].

    Raises:
        ValueError: `hidden` has a value below 1.
        ValueError: `dropout` is not in [0, 1].

    Source:
        Batch normalization: Ioffe and Szegedy 2015.
        Layer normalization: Ba, Kiros and Hinton 2016.
        Dropout: Srivastava et al. 2014.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_features: int,
        hidden: list[int],
        activation: Activation = "relu",
        norm: Literal["none", "batch", "layer"] = "none",
        dropout: float = 0.0,
    ) -> None:
        if any(features < 1 for features in hidden):
            raise ValueError(f"hidden must be at least 1 for each layer, found {list(hidden)}")
        layers: list[nn.Module] = [nn.Flatten()] if len(in_shape) > 1 else []
        features = prod(in_shape)
        for width in hidden:
            layers.append(nn.Linear(features, width))
            if norm != "none":
                layers.append(NORMS[norm](width))
            layers.append(ACTIVATIONS[activation]())
            if dropout != 0:
                layers.append(Dropout(dropout))
            features = width
        layers.append(nn.Linear(features, out_features))
        super().__init__(*layers)
