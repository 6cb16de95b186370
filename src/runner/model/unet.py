"""U-Net."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from runner.registry import MODELS


@MODELS.register("unet", channels_last=True)
class UNet(nn.Module):
    """U-Net for segmentation: an encoder and a decoder, with a skip connection between them at each level.

    The encoder halves height and width from level to level with max pooling; the decoder doubles them again with
    transposed convolutions. Each level has two 3x3 convolutions with batch normalization and ReLU.

    Args:
        in_shape: shape (C, H, W) of one image.
        out_features: number of classes, K.
        channels: number of channels of each level, from the full resolution down.

    Shapes:
        Input: images [B, C, H, W].
        Output: logits [B, K, H, W].

    Raises:
        ValueError: `in_shape` is not (C, H, W).
        ValueError: `channels` is empty or has a value below 1.
        ValueError: H or W is not divisible by 2^(levels - 1).

    Source:
        Ronneberger, Fischer and Brox 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation"; padding
        keeps the size of the images, and batch normalization is added.
    """

    def __init__(self, in_shape: tuple[int, ...], out_features: int, channels: tuple[int, ...] = (16, 32, 64)) -> None:
        super().__init__()
        if len(in_shape) != 3:
            raise ValueError(f"needs images of shape (C, H, W), found {tuple(in_shape)}")
        if not channels or min(channels) < 1:
            raise ValueError(f"channels must be one or more numbers of at least 1, found {list(channels)}")
        in_channels, height, width = in_shape
        factor = 2 ** (len(channels) - 1)
        if height % factor or width % factor:
            raise ValueError(
                f"{len(channels)} levels need images whose height and width are divisible by {factor}, "
                f"found {height}x{width}"
            )
        upward = list(pairwise(reversed(channels)))
        self.encoder = nn.ModuleList(two_convolutions(*pair) for pair in pairwise((in_channels, *channels)))
        self.pool = nn.MaxPool2d(2)
        self.upsample = nn.ModuleList(nn.ConvTranspose2d(low, high, 2, stride=2) for low, high in upward)
        self.decoder = nn.ModuleList(two_convolutions(2 * high, high) for _, high in upward)
        self.head = nn.Conv2d(channels[0], out_features, 1)

    def forward(self, images: Tensor) -> Tensor:
        levels: list[Tensor] = []
        x = images
        for block in self.encoder:
            x = block(self.pool(x) if levels else x)
            levels.append(x)
        levels.pop()
        for upsample, block in zip(self.upsample, self.decoder, strict=True):
            x = block(torch.cat([levels.pop(), upsample(x)], dim=1))
        return self.head(x)


def two_convolutions(in_channels: int, out_channels: int) -> nn.Sequential:
    """Return two 3x3 convolutions that keep height and width, each with batch normalization and ReLU."""
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        convolution = nn.Conv2d(channels, out_channels, 3, padding=1, bias=False)  # the normalization has a bias
        layers += [convolution, nn.BatchNorm2d(out_channels), nn.ReLU()]
    return nn.Sequential(*layers)
