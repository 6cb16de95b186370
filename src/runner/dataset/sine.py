"""Segments of sine waves."""

import math

import torch

from runner.dataset.base import Pool, Samples, Spec
from runner.registry import DATASETS

SHORTEST, LONGEST = 8.0, 32.0  # range of the periods, in values


@DATASETS.register("sine")
class Sine:
    """Segments of sine waves of random period and phase, with the segments that follow as targets.

    Args:
        waves: number of waves.
        length: number of values in a segment.
        noise: standard deviation of the normal noise added to the inputs.
        draw: seed of the waves and the noise.

    Raises:
        ValueError: `waves` or `length` is below 1, or `noise` is below 0.
    """

    def __init__(self, waves: int = 500, length: int = 32, noise: float = 0.0, draw: int = 0) -> None:
        if waves < 1:
            raise ValueError(f"waves must be at least 1, found {waves}")
        if length < 1:
            raise ValueError(f"length must be at least 1, found {length}")
        if noise < 0:
            raise ValueError(f"noise must be at least 0, found {noise}")
        self.waves, self.length, self.noise, self.draw = waves, length, noise, draw
        self.spec = Spec(task="regression", in_shape=(length, 1), out_features=length)

    def load(self) -> Pool:
        """Return segments [waves, length, 1] and the segments that follow them [waves, length], both float32."""
        generator = torch.Generator().manual_seed(self.draw)
        period = SHORTEST + (LONGEST - SHORTEST) * torch.rand(self.waves, 1, generator=generator)
        phase = torch.rand(self.waves, 1, generator=generator)
        values = (2 * math.pi * (torch.arange(2 * self.length) / period + phase)).sin()
        seen, next_ = values.split(self.length, dim=1)
        noise = self.noise * torch.randn(seen.shape, generator=generator)
        return Pool(Samples((seen + noise)[..., None], next_.contiguous()))
