"""A single convolution, to learn the filter that turns one picture into another."""

from torch import Tensor, nn

from runner.registry import MODELS


@MODELS.register("single_conv")
class SingleConv(nn.Module):
    """One convolution without bias or padding; its kernel is all there is to learn.

    Args:
        in_shape: channels, height and width of a picture.
        out_features: pixels of the filtered picture, (H - kernel_size + 1) * (W - kernel_size + 1).
        kernel_size: pixels a side of the kernel.

    Shapes:
        pictures [B, C, H, W] to filtered pictures, row after row, [B, out_features]; conv.weight is
        (1, C, kernel_size, kernel_size).

    Raises:
        ValueError: the inputs are no pictures, the kernel does not fit in one, or the filtered picture has another
            number of pixels than out_features.
    """

    def __init__(self, in_shape: tuple[int, ...], out_features: int, kernel_size: int = 3) -> None:
        super().__init__()
        if len(in_shape) != 3:
            raise ValueError(f"needs pictures of shape (C, H, W), found {tuple(in_shape)}")
        channels, height, width = in_shape
        if not 1 <= kernel_size <= min(height, width):
            raise ValueError(f"kernel_size must be from 1 to {min(height, width)}, found {kernel_size}")
        rows, columns = height - kernel_size + 1, width - kernel_size + 1
        if out_features != rows * columns:
            raise ValueError(
                f"a {height}x{width} picture filtered with kernel_size {kernel_size} has {rows}x{columns} = "
                f"{rows * columns} pixels, the targets have {out_features} numbers"
            )
        self.conv = nn.Conv2d(channels, 1, kernel_size, bias=False)

    def forward(self, pictures: Tensor) -> Tensor:
        filtered: Tensor = self.conv(pictures)
        return filtered.flatten(1)
