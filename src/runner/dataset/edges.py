"""Random images and their edges."""

import torch
import torch.nn.functional as F

from runner.dataset.base import Pool, Samples, Spec
from runner.registry import DATASETS

KERNEL = torch.tensor([[1.0, 0.0, -1.0]] * 3)


@DATASETS.register("edges")
class Edges:
    """Random images, with the images filtered by a vertical edge kernel as targets; a convolution can learn it.

    Args:
        pictures: number of images.
        size: height and width of an image, in pixels.
        draw: seed of the images.

    Raises:
        ValueError: `pictures` is below 1, or `size` is below 3.

    Source:
        Prewitt 1970, "Object Enhancement and Extraction": the kernel, whose rows are 1 0 -1.
    """

    def __init__(self, pictures: int = 500, size: int = 8, draw: int = 0) -> None:
        if pictures < 1:
            raise ValueError(f"pictures must be at least 1, found {pictures}")
        if size < 3:
            raise ValueError(f"size must be at least 3, found {size}")
        self.pictures, self.size, self.draw = pictures, size, draw
        self.spec = Spec(task="regression", in_shape=(1, size, size), out_features=(size - 2) ** 2, kernel=KERNEL)

    def load(self) -> Pool:
        """Return images [N, 1, size, size] in [0, 1) and the filtered images [N, (size - 2)^2], both float32.

        The filter is a cross-correlation, as in `torch.nn.Conv2d`. The filtered images are flattened row by row.
        """
        generator = torch.Generator().manual_seed(self.draw)
        pictures = torch.rand(self.pictures, 1, self.size, self.size, generator=generator)
        return Pool(Samples(pictures, F.conv2d(pictures, KERNEL[None, None]).flatten(1)))
