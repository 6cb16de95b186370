"""Fashion-MNIST, read from its four IDX files."""

from typing import ClassVar

from runner.dataset.download import Published
from runner.dataset.mnist import MNIST
from runner.registry import DATASETS

MIRROR = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
FILES = {
    "train-images-idx3-ubyte": Published(f"{MIRROR}train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    "train-labels-idx1-ubyte": Published(f"{MIRROR}train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
    "t10k-images-idx3-ubyte": Published(f"{MIRROR}t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
    "t10k-labels-idx1-ubyte": Published(f"{MIRROR}t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
}


@DATASETS.register("fashion_mnist")
class FashionMNIST(MNIST):
    """70,000 images of clothing in ten classes, 28x28 pixels each, in the format of MNIST.

    Args:
        root: folder that contains `FashionMNIST/raw` with the four IDX files, as torchvision stores them. If they are
            missing, they are downloaded.
        size: height and width to resize to, in pixels.

    Raises:
        ValueError: `size` is below 1.

    Source:
        Xiao, Rasul and Vollgraf 2017, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
        Algorithms".
    """

    files: ClassVar = FILES
    places: ClassVar = ("FashionMNIST/raw",)  # not root itself, which may contain MNIST's files of the same names
    classes: ClassVar = (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )
    mean: ClassVar = (0.2860,)
    std: ClassVar = (0.3530,)
