"""The handwritten digits included in scikit-learn."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from runner.dataset.base import Pool, Samples, Spec
from runner.dataset.frame import resize
from runner.registry import DATASETS


@DATASETS.register("digits")
class Digits:
    """1,797 handwritten digits of 8x8 pixels, included in scikit-learn.

    Args:
        size: height and width to resize to, in pixels.
        keep: digits to keep, which become the classes 0, 1, ... in this order. None: all.

    Raises:
        ValueError: `size` is below 1.
        ValueError: `keep` is empty, or has a number that is not a digit or appears twice.

    Source:
        Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository.
    """

    def __init__(self, size: int = 32, keep: list[int] | None = None) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, found {size}")
        self.keep = list(range(10)) if keep is None else keep
        if not self.keep or len(set(self.keep)) < len(self.keep) or not set(self.keep) <= set(range(10)):
            raise ValueError(f"keep must be different digits from 0 to 9, found {keep}")
        self.spec = Spec(
            task="classification",
            in_shape=(1, size, size),
            out_features=len(self.keep),
            classes=tuple(map(str, self.keep)),
            mean=(0.3053,),
            std=(0.3763,),
        )

    def load(self) -> Pool:
        """Return uint8 images [N, 1, size, size] and class indices [N]; N is 1797 if all digits are kept."""
        # Each row contains 64 pixels from 0 to 16, then the class.
        table = torch.from_numpy(np.loadtxt(table_path(), delimiter=",", dtype=np.uint8))
        grey = table[:, :64].float().mul(255 / 16).round().to(torch.uint8).view(-1, 1, 8, 8)
        images, digits = resize(grey, self.spec.in_shape[-1]), table[:, 64].long()
        matches = digits[:, None] == torch.tensor(self.keep)
        kept = matches.any(1)
        return Pool(Samples(images[kept], matches[kept].long().argmax(1)))


def table_path() -> Path:
    """Return the path of the digits in scikit-learn, without importing it: that would take longer than the training."""
    package = find_spec("sklearn")
    assert package is not None, "a dependency"
    assert package.origin is not None
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
