"""LeNet-5."""

from torch import Tensor, nn

from runner.registry import MODELS


@MODELS.register("lenet", channels_last=True)
class LeNet(nn.Module):
    """LeNet-5: two convolutions with max pooling and three fully connected layers, with ReLU activations.

    With the default values, 32x32 images and 10 classes, the fully connected layers are 400-120-84-10.

    Args:
        in_shape: shape (C, H, W) of one image.
        out_features: number of outputs, one per class.
        channels: output channels of the first and second convolution.
        kernel_size: height and width of both kernels, in pixels; there is no padding.
        hidden: width of the first and second fully connected layer.

    Shapes:
        Input: images [B, C, H, W].
        Output: logits [B, out_features].

    Raises:
        ValueError: `in_shape` is not (C, H, W).
        ValueError: `channels`, `kernel_size` or `hidden` has a value below 1.
        ValueError: the image is too small for two convolutions and two poolings.

    Source:
        LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition", section II.B; ReLU and max
        pooling replace the paper's tanh and trainable subsampling.
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
            raise ValueError(
                "kernel_size, channels and hidden must be at least 1, "
                f"found kernel_size={kernel_size}, channels={channels}, hidden={hidden}"
            )
        in_channels, *sides = in_shape
        for _ in range(2):
            sides = [(side - kernel_size + 1) // 2 for side in sides]
        if min(sides) < 1:
            smallest = 3 * kernel_size + 1
            raise ValueError(
                f"kernel_size {kernel_size} needs images of at least {smallest}x{smallest}, "
                f"found {in_shape[1]}x{in_shape[2]}"
            )
        self.conv1 = nn.Conv2d(in_channels, channels[0], kernel_size)
        self.conv2 = nn.Conv2d(channels[0], channels[1], kernel_size)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.ReLU()
        self.fc1 = nn.Linear(channels[1] * sides[0] * sides[1], hidden[0])
        self.fc2 = nn.Linear(hidden[0], hidden[1])
        self.fc3 = nn.Linear(hidden[1], out_features)

    def forward(self, images: Tensor) -> Tensor:
        # Max pooling commutes with ReLU; pooling first leaves ReLU a quarter of the elements.
        x = self.relu(self.pool(self.conv1(images)))
        x = self.relu(self.pool(self.conv2(x)))
        x = x.flatten(1)
        x = self.relu(self.fc1(x))
        x = self.relu(self.fc2(x))
        return self.fc3(x)
