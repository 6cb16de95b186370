"""Random inputs with random targets."""

import torch

from runner.dataset.base import Pool, Samples, Spec
from runner.registry import DATASETS


@DATASETS.register("random_pairs")
class RandomPairs:
    """Inputs and targets drawn from a normal distribution: what a model makes of them, it has learned by heart.

    Args:
        pairs: how many.
        shape: of an input.
        numbers: in a target.
        draw: seed of the pairs.

    Raises:
        ValueError: there are no pairs, or an input or a target has no numbers.
    """

    def __init__(self, pairs: int = 1, shape: tuple[int, ...] = (1, 32, 32), numbers: int = 10, draw: int = 0) -> None:
        if not shape or min(pairs, numbers, *shape) < 1:
            raise ValueError(f"needs at least 1 of all, found {pairs} pairs of {shape} and {numbers} numbers")
        self.pairs, self.draw = pairs, draw
        self.spec = Spec(task="regression", in_shape=tuple(shape), out_features=numbers)

    def load(self) -> Pool:
        """Inputs [pairs, *in_shape] and targets [pairs, numbers], both float32."""
        generator = torch.Generator().manual_seed(self.draw)
        inputs = torch.randn(self.pairs, *self.spec.in_shape, generator=generator)
        return Pool(Samples(inputs, torch.randn(self.pairs, self.spec.out_features, generator=generator)))
