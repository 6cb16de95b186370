"""The handwritten digits with rare classes."""

from math import ceil

import torch
from torch import Tensor

from runner.dataset.base import Pool, Samples
from runner.dataset.digits import Digits
from runner.registry import DATASETS


@DATASETS.register("imbalanced_digits")
class ImbalancedDigits:
    """The handwritten digits of scikit-learn with only a share of each class.

    Args:
        shares: share to keep of the digits 0 to 9, in (0, 1]; at least one sample of each is kept.
        size: height and width to resize to, in pixels.

    Raises:
        ValueError: there are not ten shares, or one is not in (0, 1].
        ValueError: `size` is below 1.
    """

    def __init__(self, shares: list[float], size: int = 32) -> None:
        if len(shares) != 10:
            raise ValueError(f"shares must have ten values, one per digit, found {len(shares)}")
        if not all(0 < share <= 1 for share in shares):
            raise ValueError(f"shares must be above 0 and at most 1, found {shares}")
        self.shares, self.digits = shares, Digits(size)
        self.spec = self.digits.spec

    def load(self) -> Pool:
        """Return uint8 images [N, 1, size, size] and class indices [N], in the original order."""
        inputs, targets = self.digits.load().samples
        assert isinstance(inputs, Tensor)
        chosen = [evenly_spaced(targets == digit, share) for digit, share in enumerate(self.shares)]
        kept = torch.cat(chosen).sort().values
        return Pool(Samples(inputs[kept], targets[kept]))


def evenly_spaced(members: Tensor, share: float) -> Tensor:
    """Return the indices of the samples of a class to keep, evenly spaced among all of them.

    Args:
        members: mask [N] of the samples of the class.
        share: share of them to keep; the number is rounded up.
    """
    indices = members.nonzero().squeeze(1)
    count = ceil(share * len(indices))
    return indices[torch.arange(count) * len(indices) // count]
