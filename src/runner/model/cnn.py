"""A configurable convolutional network."""

from typing import Literal

from torch import Tensor, nn

from runner.model.activation import ACTIVATIONS, Activation
from runner.model.dropout import Dropout
from runner.registry import MODELS


@MODELS.register("cnn", channels_last=True)
class CNN(nn.Module):
    """Convolutional blocks followed by fully connected layers.

    Each block is a convolution, an optional batch normalization, an activation and a max pooling.

    Args:
        in_shape: shape (C, H, W) of one image.
        out_features: number of outputs, one per class.
        channels: output channels of each block.
        hidden: width of each hidden layer after the blocks; an empty list leaves only the output layer.
        kernel_size: height and width of the kernels, in pixels. The padding is `kernel_size // 2`, so an odd
            kernel size preserves height and width.
        norm: normalization between each convolution and its activation.
        activation: activation function after each convolution and each hidden layer.
        pool: kernel size and stride of the max pooling, in pixels; 1 disables it.
        dropout: probability of zeroing an element of the input of each linear layer during training.

    Shapes:
        Input: images [B, C, H, W].
        Output: logits [B, out_features].

    Raises:
        ValueError: `in_shape` is not (C, H, W).
        ValueError: `channels`, `hidden`, `kernel_size` or `pool` has a value below 1.
        ValueError: the poolings reduce the image to nothing.
        ValueError: `dropout` is not in [0, 1].

    Source:
        Convolution and pooling: LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition",
        section II.
        Batch normalization: Ioffe and Szegedy 2015.
        Dropout: Srivastava et al. 2014.
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
                f"{len(channels)} blocks with pool={pool} reduce images of {in_shape[1]}x{in_shape[2]} to nothing; "
                "shorten channels, or use a smaller pool or larger images"
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
        return self.layers(self.blocks(images))
