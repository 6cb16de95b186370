"""mixup and CutMix: training on combinations of two images of a batch and of their targets.

MixUp and CutMix of torchvision.transforms.v2 are not used: they draw from the global generators.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from runner.machine.device import copy_to


@dataclass(frozen=True)
class Mix:
    """mixup or CutMix of a batch with a permutation of itself; if both are on, one of them with probability 0.5.

    Args:
        mixup: alpha of the distribution Beta(alpha, alpha) of mixup's weights; 0: no mixup.
        cutmix: alpha of the distribution Beta(alpha, alpha) of the area that CutMix keeps; 0: no CutMix.
        classes: number of classes, K.

    Shapes:
        Input: images [B, C, H, W], and class indices [B].
        Output: images [B, C, H, W], and probabilities of the classes, float32 [B, K].

    Source:
        mixup: Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization", section 2.
        CutMix: Yun et al. 2019, "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
        Features", section 3.1.
    """

    mixup: float
    cutmix: float
    classes: int

    def __call__(self, images: Tensor, targets: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Return the mixed batch; the given images are not modified.

        Args:
            images: images [B, C, H, W].
            targets: class indices [B].
            generator: CPU generator, so that the result is the same on every device.
        """
        labels = F.one_hot(targets, self.classes).float()
        if self.mixup == self.cutmix == 0:
            return images, labels
        choice, *center = torch.rand(3, generator=generator).tolist()  # all are always drawn, as in `Augment`
        order = copy_to(torch.randperm(len(images), generator=generator), images.device)
        if self.cutmix > 0 and (self.mixup == 0 or choice < 0.5):
            rows, columns, kept = _rectangle(images.shape[-2:], _beta(self.cutmix, generator), center)
            mixed = images.clone()
            mixed[..., rows, columns] = images[..., rows, columns][order]
        else:
            kept = _beta(self.mixup, generator)
            mixed = _average(images, images[order], kept)
        return mixed, _average(labels, labels[order], kept)


def _beta(alpha: float, generator: Generator) -> float:
    """Draw from Beta(alpha, alpha)."""
    # By NumPy, seeded from the generator: torch's Beta accepts no generator, and _sample_dirichlet is private.
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    return np.random.default_rng(seed).beta(alpha, alpha)


def _rectangle(sides: tuple[int, ...], kept: float, center: list[float]) -> tuple[slice, slice, float]:
    """Return the rows and columns of the rectangle to replace, and the share of the pixels that are kept.

    Args:
        sides: height and width of the images.
        kept: share to keep, if the border does not clip the rectangle.
        center: center of the rectangle, as fractions of the sides.
    """
    spans = []
    for side, middle in zip(sides, center, strict=True):
        half = (1 - kept) ** 0.5 / 2
        spans.append(slice(round(side * max(0.0, middle - half)), round(side * min(1.0, middle + half))))
    rows, columns = spans
    replaced = (rows.stop - rows.start) * (columns.stop - columns.start)
    return rows, columns, 1 - replaced / (sides[0] * sides[1])


def _average(first: Tensor, second: Tensor, weight: float) -> Tensor:
    """Return weight * first + (1 - weight) * second, rounded in the same way on every device, which lerp is not."""
    return first * weight + second * (1 - weight)
