"""Pictures of several handwritten digits."""

import torch
import torch.nn.functional as F
from torch import Tensor

from runner.dataset.base import Pool, Samples, Spec
from runner.dataset.digits import Digits
from runner.registry import DATASETS

EMPTY = 0.3  # probability that a cell is empty
TEST = 5  # one in this many pictures and digits is for the test set


@DATASETS.register("multilabel_digits")
class MultilabelDigits:
    """Pictures with up to four of the handwritten digits of scikit-learn; the targets are the digits that appear.

    A picture has two rows of two cells. A cell is empty with probability 0.3, otherwise it has a random digit. A fifth
    of the pictures is the test set. Its digits are every fifth one of scikit-learn, which the other pictures lack.

    Args:
        images: number of pictures.
        size: height and width of a picture, in pixels.
        draw: seed of the pictures.

    Raises:
        ValueError: `images` is below 5, or `size` is odd or below 2.
    """

    def __init__(self, images: int = 3000, size: int = 32, draw: int = 0) -> None:
        if images < TEST:
            raise ValueError(f"images must be at least {TEST}, found {images}")
        if size < 2 or size % 2:
            raise ValueError(f"size must be even and at least 2, found {size}")
        self.images, self.size, self.draw = images, size, draw
        self.spec = Spec(
            task="multilabel",
            in_shape=(1, size, size),
            out_features=10,
            classes=tuple("0123456789"),
            mean=(0.215,),
            std=(0.302,),
            has_test=True,
        )

    def load(self) -> Pool:
        """Return uint8 images [N, 1, size, size] and which digits appear, float32 [N, 10], with a test set."""
        generator = torch.Generator().manual_seed(self.draw)
        digits, classes = Digits(self.size // 2).load().samples
        held_out, tests = torch.arange(len(classes)) % TEST == 0, self.images // TEST
        train = pictures(digits[~held_out], classes[~held_out], self.images - tests, generator)
        return Pool(train, test=pictures(digits[held_out], classes[held_out], tests, generator))


def pictures(digits: Tensor, classes: Tensor, images: int, generator: torch.Generator) -> Samples:
    """Return pictures of random digits, with 1 in the targets for each class that appears.

    Args:
        digits: images of digits [M, 1, side, side], uint8.
        classes: their classes [M].
        images: number of pictures, N.
        generator: source of the random numbers.

    Returns:
        Images [N, 1, 2 * side, 2 * side], uint8, and targets [N, 10], float32.
    """
    chosen = torch.randint(len(classes), (images, 4), generator=generator)
    used = torch.rand(images, 4, generator=generator) >= EMPTY
    cells = (digits[chosen, 0] * used[:, :, None, None]).unflatten(1, (2, 2))  # [N, 2, 2, side, side]
    targets = (F.one_hot(classes[chosen], 10) * used[:, :, None]).amax(1)
    return Samples(cells.transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, None], targets.float())
