"""The general convolutional network."""

from typing import Literal

from torch import Tensor, nn

from runner.model.activation import ACTIVATIONS, Activation
from runner.model.dropout import Dropout
from runner.registry import MODELS


@MODELS.register("cnn", channels_last=True)
class CNN(nn.Module):
    """Blocks of convolution, activation and max pooling, then linear layers (LeCun et al. 1998, section II).

    Args:
        in_shape: channels, height and width of an image.
        out_features: number of outputs, one for each class.
        channels: outputs of each block's convolution.
        hidden: outputs of each hidden linear layer; an empty list makes one linear layer.
        kernel_size: pixels a side of the kernels; half of it is padded on each side, so an odd one keeps the size.
        norm: between a convolution and its activation (batch: Ioffe and Szegedy 2015).
        activation: after each convolution and each hidden layer.
        pool: pixels a side that each block's pooling makes one of; 1 for no pooling.
        dropout: share of values set to zero before each linear layer in training (Srivastava et al. 2014).

    Shapes:
        images [B, C, H, W] to logits [B, out_features].

    Raises:
        ValueError: the inputs are no images, the poolings leave nothing of one, dropout is not a share, or a number
            that must be at least 1 is not.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_features: int,
        channels: list[int],
        hidden: list[int],
        kernel_size: int = 3,
        norm: Literal["none", "batch"] = "none",
        activation: Activation = "relu",
        pool: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if len(in_shape) != 3:
            raise ValueError(f"needs images of shape (C, H, W), found {tuple(in_shape)}")
        counts = {"channels": channels, "hidden": hidden, "kernel_size": [kernel_size], "pool": [pool]}
        for name, numbers in counts.items():
            if any(number < 1 for number in numbers):
                raise ValueError(f"{name} must be at least 1, found {min(numbers)}")

        features, *sides = in_shape
        blocks: list[nn.Module] = []
        for width in channels:
            blocks.append(nn.Conv2d(features, width, kernel_size, padding=kernel_size // 2))
            if norm == "batch":
                blocks.append(nn.BatchNorm2d(width))
            blocks += [ACTIVATIONS[activation](), nn.MaxPool2d(pool)]
            features = width
            sides = [(side + 2 * (kernel_size // 2) - kernel_size + 1) // pool for side in sides]
        if min(sides) < 1:
            raise ValueError(
                f"{len(channels)} poolings by {pool} leave nothing of an image of {in_shape[1]}x{in_shape[2]}"
            )
        self.blocks = nn.Sequential(*blocks)

        features *= sides[0] * sides[1]
        layers: list[nn.Module] = [nn.Flatten()]
        for width in hidden:
            layers += [Dropout(dropout), nn.Linear(features, width), ACTIVATIONS[activation]()]
            features = width
        layers += [Dropout(dropout), nn.Linear(features, out_features)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(self.blocks(images))
        return logits
