"""The convolutional network of PyTorch's MNIST example."""

import torch.nn.functional as F
from torch import Tensor, nn

from runner.model.dropout import Dropout
from runner.registry import MODELS


@MODELS.register("mnist_cnn", channels_last=True)
class MnistCNN(nn.Module):
    """Two 3x3 convolutions, one pooling, two linear layers, with dropout (pytorch/examples, mnist/main.py).

    With 28x28 pixels: conv 1-32, conv 32-64, pool 2, dropout 0.25, 9216-128, dropout 0.5, 128-10, log-softmax. The
    numbers are fixed; `cnn` is the one to vary.

    Args:
        in_shape: channels, height and width of an image.
        out_features: number of classes.

    Shapes:
        images [B, C, H, W] to log-probabilities [B, out_features], for loss=nll.

    Raises:
        ValueError: the image is smaller than 6x6, or is no image.
    """

    def __init__(self, in_shape: tuple[int, ...], out_features: int) -> None:
        super().__init__()
        if len(in_shape) != 3:
            raise ValueError(f"needs images of shape (C, H, W), found {tuple(in_shape)}")
        channels, height, width = in_shape
        if min(height, width) < 6:
            raise ValueError(f"needs images of at least 6x6, found {height}x{width}")
        self.conv1 = nn.Conv2d(channels, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.dropout1 = Dropout(0.25)
        self.dropout2 = Dropout(0.5)
        self.fc1 = nn.Linear(64 * ((height - 4) // 2) * ((width - 4) // 2), 128)
        self.fc2 = nn.Linear(128, out_features)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.conv1(images))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))  # pooled first: the same values, from a quarter of the work
        x = self.dropout1(x)
        x = F.relu(self.fc1(x.flatten(1)))
        x = self.fc2(self.dropout2(x))
        return F.log_softmax(x, dim=1)
