"""Random pictures and their edges."""

import torch
import torch.nn.functional as F

from runner.dataset.base import Pool, Samples, Spec
from runner.registry import DATASETS

KERNEL = torch.tensor([[1.0, 0.0, -1.0]] * 3)


@DATASETS.register("edges")
class Edges:
    """Random pictures and what the kernel of rows 1 0 -1 makes of them (Prewitt 1970): a convolution can learn it.

    Args:
        pictures: how many.
        size: pixels a side.
        draw: seed of the pictures.

    Raises:
        ValueError: there are no pictures, or they are smaller than the kernel.
    """

    def __init__(self, pictures: int = 500, size: int = 8, draw: int = 0) -> None:
        if pictures < 1:
            raise ValueError(f"pictures must be at least 1, found {pictures}")
        if size < 3:
            raise ValueError(f"size must be at least 3, found {size}")
        self.pictures, self.size, self.draw = pictures, size, draw
        self.spec = Spec(task="regression", in_shape=(1, size, size), out_features=(size - 2) ** 2, kernel=KERNEL)

    def load(self) -> Pool:
        """Pictures [N, 1, size, size] in [0, 1) and filtered pictures [N, (size - 2)^2], row by row, both float32.

        As in every network, the kernel is not mirrored before it is laid on the picture (a cross-correlation).
        """
        generator = torch.Generator().manual_seed(self.draw)
        pictures = torch.rand(self.pictures, 1, self.size, self.size, generator=generator)
        return Pool(Samples(pictures, F.conv2d(pictures, KERNEL[None, None]).flatten(1)))
