"""Points on a parabola."""

import torch

from runner.dataset.base import Pool, Samples, Spec
from runner.registry import DATASETS


@DATASETS.register("parabola")
class Parabola:
    """y = x^2 - 0.5 x + 1.5625 at evenly spaced points in [0, 1], including both ends.

    Args:
        points: number of points.

    Raises:
        ValueError: `points` is below 2.
    """

    def __init__(self, points: int = 10) -> None:
        if points < 2:
            raise ValueError(f"points must be at least 2, found {points}")
        self.points = points
        self.spec = Spec(task="regression", in_shape=(1,), out_features=1)

    def load(self) -> Pool:
        """Return inputs [points, 1] and targets [points, 1], both float32."""
        x = torch.linspace(0, 1, self.points)[:, None]
        return Pool(Samples(x, x**2 - 0.5 * x + 1.5625))
