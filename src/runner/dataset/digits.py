"""The handwritten digits included in scikit-learn."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from runner.dataset.base import Pool, Samples, Spec, resize
from runner.registry import DATASETS


@DATASETS.register("digits")
class Digits:
    """1,797 handwritten digits of 8x8 pixels, included in scikit-learn.

    Args:
        size: height and width to resize to, in pixels.

    Raises:
        ValueError: `size` is below 1.

    Source:
        Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository.
    """

    def __init__(self, size: int = 32) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, found {size}")
        self.spec = Spec(
            task="classification",
            in_shape=(1, size, size),
            out_features=10,
            classes=tuple("0123456789"),
            mean=(0.3053,),
            std=(0.3763,),
        )

    def load(self) -> Pool:
        """Return uint8 images [1797, 1, size, size] and class indices [1797]."""
        # Each row contains 64 pixels from 0 to 16, then the class.
        table = torch.from_numpy(np.loadtxt(table_path(), delimiter=",", dtype=np.uint8))
        grey = table[:, :64].float().mul(255 / 16).round().to(torch.uint8).view(-1, 1, 8, 8)
        return Pool(Samples(resize(grey, self.spec.in_shape[-1]), table[:, 64].long()))


def table_path() -> Path:
    """Return the path of the digits in scikit-learn, without importing it: that would take longer than the training."""
    package = find_spec("sklearn")
    assert package is not None, "a dependency"
    assert package.origin is not None
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
