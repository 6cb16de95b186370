"""Points on a straight line."""

import torch

from runner.dataset.base import Pool, Samples, Spec
from runner.registry import DATASETS


@DATASETS.register("line")
class Line:
    """y = slope x + intercept at random points in [0, 1).

    Args:
        points: number of points.
        slope: slope of the line.
        intercept: value at x = 0.
        noise: standard deviation of the normal noise added to y.
        draw: seed of the points and the noise.

    Raises:
        ValueError: `points` is below 1, or `noise` is below 0.
    """

    def __init__(
        self, points: int = 100, slope: float = 2.0, intercept: float = 3.0, noise: float = 0.0, draw: int = 0
    ) -> None:
        if points < 1:
            raise ValueError(f"points must be at least 1, found {points}")
        if noise < 0:
            raise ValueError(f"noise must be at least 0, found {noise}")
        self.points, self.slope, self.intercept, self.noise, self.draw = points, slope, intercept, noise, draw
        self.spec = Spec(task="regression", in_shape=(1,), out_features=1)

    def load(self) -> Pool:
        """Return inputs [points, 1] and targets [points, 1], both float32."""
        generator = torch.Generator().manual_seed(self.draw)
        x = torch.rand(self.points, 1, generator=generator)
        noise = self.noise * torch.randn(self.points, 1, generator=generator)
        return Pool(Samples(x, self.slope * x + self.intercept + noise))
