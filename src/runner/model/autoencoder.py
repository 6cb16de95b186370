"""A convolutional autoencoder."""

from itertools import pairwise
from math import prod

from torch import Tensor, nn

from runner.registry import MODELS


@MODELS.register("autoencoder", channels_last=True)
class Autoencoder(nn.Module):
    """Convolutional autoencoder: an encoder to a few values, and a decoder from these values back to the image.

    Each convolution of the encoder halves height and width; each transposed convolution of the decoder doubles them.

    Args:
        in_shape: shape (C, H, W) of one image.
        channels: output channels of each convolution of the encoder.
        latent: number of values to which an image is compressed.

    Shapes:
        Input: normalized images [B, C, H, W].
        Output: their reconstructions [B, C, H, W], without an activation.

    Raises:
        ValueError: `in_shape` is not (C, H, W).
        ValueError: `channels` is empty, or `channels` or `latent` has a value below 1.
        ValueError: H or W is not divisible by 2^n for n convolutions, which is 4 by default.

    Source:
        Hinton and Salakhutdinov 2006, "Reducing the Dimensionality of Data with Neural Networks".
        Transposed convolutions: Zeiler et al. 2010, "Deconvolutional Networks".
    """

    def __init__(self, in_shape: tuple[int, ...], channels: tuple[int, ...] = (16, 32), latent: int = 16) -> None:
        super().__init__()
        if len(in_shape) != 3:
            raise ValueError(f"needs images of shape (C, H, W), found {tuple(in_shape)}")
        if not channels or min(latent, *channels) < 1:
            raise ValueError(
                f"channels and latent must be at least 1, found channels={list(channels)}, latent={latent}"
            )
        in_channels, height, width = in_shape
        factor = 2 ** len(channels)
        if height % factor or width % factor:
            raise ValueError(
                f"{len(channels)} convolutions need images whose height and width are divisible by {factor}, "
                f"found {height}x{width}"
            )
        steps = list(pairwise((in_channels, *channels)))
        smallest = (channels[-1], height // factor, width // factor)
        encoder: list[nn.Module] = []
        for before, after in steps:
            encoder += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
        self.encoder = nn.Sequential(*encoder, nn.Flatten(), nn.Linear(prod(smallest), latent))

        decoder: list[nn.Module] = [nn.Linear(latent, prod(smallest)), nn.Unflatten(1, smallest)]
        for before, after in reversed(steps):
            decoder += [nn.ReLU(), nn.ConvTranspose2d(after, before, 4, stride=2, padding=1)]
        self.decoder = nn.Sequential(*decoder)

    def forward(self, images: Tensor) -> Tensor:
        return self.decoder(self.encoder(images))
