"""A single convolution, for learning an image filter."""

from torch import Tensor, nn

from runner.registry import MODELS


@MODELS.register("single_conv")
class SingleConv(nn.Module):
    """A single convolution without bias or padding, for learning an image filter.

    Args:
        in_shape: shape (C, H, W) of one image.
        out_features: number of pixels of the filtered image, (H - kernel_size + 1) * (W - kernel_size + 1).
        kernel_size: height and width of the kernel, in pixels.

    Shapes:
        Input: images [B, C, H, W].
        Output: filtered images, flattened row by row, [B, out_features].
        conv.weight: [1, C, kernel_size, kernel_size].

    Raises:
        ValueError: `in_shape` is not (C, H, W).
        ValueError: `kernel_size` is below 1 or larger than the image.
        ValueError: `out_features` is not the number of pixels of the filtered image.
    """

    def __init__(self, in_shape: tuple[int, ...], out_features: int, kernel_size: int = 3) -> None:
        super().__init__()
        if len(in_shape) != 3:
            raise ValueError(f"needs images of shape (C, H, W), found {tuple(in_shape)}")
        channels, height, width = in_shape
        if not 1 <= kernel_size <= min(height, width):
            raise ValueError(f"kernel_size must be from 1 to {min(height, width)}, found {kernel_size}")
        rows, columns = height - kernel_size + 1, width - kernel_size + 1
        if out_features != rows * columns:
            raise ValueError(
                f"kernel_size {kernel_size} turns images of {height}x{width} into {rows}x{columns} = {rows * columns} "
                f"pixels, but each target has {out_features} values"
            )
        self.conv = nn.Conv2d(channels, 1, kernel_size, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images).flatten(1)
