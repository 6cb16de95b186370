"""The multi-layer perceptron."""

from math import prod
from typing import Literal

from torch import nn

from runner.model.activation import ACTIVATIONS, Activation
from runner.model.dropout import Dropout
from runner.registry import MODELS

NORMS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


@MODELS.register("mlp")
class MLP(nn.Sequential):
    """Linear layers with an activation between them, and normalisation and dropout where asked for.

    Args:
        in_shape: shape of one input; it is flattened.
        out_features: number of outputs.
        hidden: outputs of each hidden layer; an empty list makes a linear model.
        activation: after each hidden layer.
        norm: between a hidden layer and its activation.
        dropout: share of hidden values set to zero in training (Srivastava et al. 2014).

    Shapes:
        inputs [B, *in_shape] to outputs [B, out_features].

    Raises:
        ValueError: dropout is not a share, or a layer has no outputs.
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
            raise ValueError(f"each hidden layer needs at least 1 output, found {list(hidden)}")
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
