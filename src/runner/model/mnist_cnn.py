"""The convolutional network from PyTorch's MNIST example."""

import torch.nn.functional as F
from torch import Tensor, nn

from runner.model.dropout import Dropout
from runner.registry import MODELS


@MODELS.register("mnist_cnn", channels_last=True)
class MnistCNN(nn.Module):
    """Network from PyTorch's MNIST example: two convolutions, two fully connected layers, dropout and log-softmax.

    For 28x28 images: conv 1-32, conv 32-64, max pool 2, dropout 0.25, linear 9216-128, dropout 0.5, linear 128-10,
    log-softmax. The layer sizes are fixed; use `model=cnn` for configurable ones.

    Args:
        in_shape: shape (C, H, W) of one image.
        out_features: number of classes.

    Shapes:
        Input: images [B, C, H, W].
        Output: log-probabilities [B, out_features], as `loss=nll` expects.

    Raises:
        ValueError: `in_shape` is not (C, H, W), or the image is smaller than 6x6.

    Source:
        https://github.com/pytorch/examples, mnist/main.py.
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
        # Max pooling commutes with ReLU; pooling first leaves ReLU a quarter of the elements.
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        x = self.dropout1(x)
        x = F.relu(self.fc1(x.flatten(1)))
        x = self.fc2(self.dropout2(x))
        return F.log_softmax(x, dim=1)
