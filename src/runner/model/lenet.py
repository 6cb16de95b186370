"""LeNet-5, the classic convolutional network for handwritten digits."""

from torch import Tensor, nn

from runner.registry import MODELS


@MODELS.register("lenet", channels_last=True)
class LeNet(nn.Module):
    """Two convolutions with pooling, then three linear layers; ReLU between (LeCun et al. 1998, section II.B).

    With the default values and 32x32 pixels this is LeNet-5: 400-120-84-10.

    Args:
        in_shape: channels, height and width of an image.
        out_features: number of outputs, one for each class.
        channels: outputs of the first and of the second convolution.
        kernel_size: pixels a side of both kernels; no padding.
        hidden: outputs of the first and of the second linear layer.

    Shapes:
        images [B, C, H, W] to logits [B, out_features].

    Raises:
        ValueError: the image is too small for two convolutions and two poolings, or is no image; or a number is
            below 1.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_features: int,
        channels: tuple[int, int] = (6, 16),
        kernel_size: int = 5,
        hidden: tuple[int, int] = (120, 84),
    ) -> None:
        super().__init__()
        if len(in_shape) != 3:
            raise ValueError(f"needs images of shape (C, H, W), found {tuple(in_shape)}")
        if min(kernel_size, *channels, *hidden) < 1:
            raise ValueError("kernel_size, channels and hidden must be at least 1")
        in_channels, *sides = in_shape
        for _ in range(2):
            sides = [(side - kernel_size + 1) // 2 for side in sides]
        if min(sides) < 1:
            raise ValueError(f"kernel_size {kernel_size} leaves nothing of an image of {in_shape[1]}x{in_shape[2]}")
        self.conv1 = nn.Conv2d(in_channels, channels[0], kernel_size)
        self.conv2 = nn.Conv2d(channels[0], channels[1], kernel_size)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.ReLU()
        self.fc1 = nn.Linear(channels[1] * sides[0] * sides[1], hidden[0])
        self.fc2 = nn.Linear(hidden[0], hidden[1])
        self.fc3 = nn.Linear(hidden[1], out_features)

    def forward(self, images: Tensor) -> Tensor:
        x = self.relu(self.pool(self.conv1(images)))  # pooled first: the same values, from a quarter of the work
        x = self.relu(self.pool(self.conv2(x)))
        x = x.flatten(1)
        x = self.relu(self.fc1(x))
        x = self.relu(self.fc2(x))
        logits: Tensor = self.fc3(x)
        return logits
