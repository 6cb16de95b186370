"""The handwritten digits, some of them rare."""

from math import ceil

import torch
from torch import Tensor

from runner.dataset.base import Pool, Samples
from runner.dataset.digits import Digits
from runner.registry import DATASETS


@DATASETS.register("imbalanced_digits")
class ImbalancedDigits:
    """The handwritten digits inside scikit-learn with a share of each class left: some digits are rare.

    Args:
        shares: of the digits 0 to 9, each above 0 and at most 1; at least one sample of each class is left.
        size: pixels a side after scaling up.

    Raises:
        ValueError: there are not ten shares, one is not a share, or size is below 1.
    """

    def __init__(self, shares: list[float], size: int = 32) -> None:
        if len(shares) != 10:
            raise ValueError(f"shares must be ten, one for each digit, found {len(shares)}")
        if not all(0 < share <= 1 for share in shares):
            raise ValueError(f"shares must be above 0 and at most 1, found {shares}")
        self.shares, self.digits = shares, Digits(size)
        self.spec = self.digits.spec

    def load(self) -> Pool:
        """Images [N, 1, size, size] as bytes, class numbers [N]: the digits that are left keep their order."""
        inputs, targets = self.digits.load().samples
        assert isinstance(inputs, Tensor)
        kept = torch.cat([left(targets == digit, share) for digit, share in enumerate(self.shares)]).sort().values
        return Pool(Samples(inputs[kept], targets[kept]))


def left(members: Tensor, share: float) -> Tensor:
    """The indices of `share` of a class's members [N, bool], rounded up, evenly spread over all of them."""
    indices = members.nonzero().squeeze(1)
    count = ceil(share * len(indices))
    return indices[torch.arange(count) * len(indices) // count]
