"""Random inputs with random targets."""

import torch

from runner.dataset.base import Pool, Samples, Spec
from runner.registry import DATASETS


@DATASETS.register("random_pairs")
class RandomPairs:
    """Random inputs and targets from a normal distribution, which a model can only memorize.

    Args:
        pairs: number of samples.
        shape: shape of an input.
        numbers: number of values in a target.
        draw: seed of the samples.

    Raises:
        ValueError: `pairs`, `numbers` or a dimension of `shape` is below 1.
    """

    def __init__(self, pairs: int = 1, shape: tuple[int, ...] = (1, 32, 32), numbers: int = 10, draw: int = 0) -> None:
        if not shape or min(pairs, numbers, *shape) < 1:
            raise ValueError(f"pairs, numbers and shape must be at least 1, found {pairs}, {numbers} and {shape}")
        self.pairs, self.draw = pairs, draw
        self.spec = Spec(task="regression", in_shape=tuple(shape), out_features=numbers)

    def load(self) -> Pool:
        """Return inputs [pairs, *shape] and targets [pairs, numbers], both float32."""
        generator = torch.Generator().manual_seed(self.draw)
        inputs = torch.randn(self.pairs, *self.spec.in_shape, generator=generator)
        return Pool(Samples(inputs, torch.randn(self.pairs, self.spec.out_features, generator=generator)))
