"""Datasets: each has a `spec`, known from its arguments alone, and `load()`, which reads the samples."""

from runner.dataset import (
    cifar10,
    csv,
    digits,
    edges,
    fashion_mnist,
    image_folder,
    imbalanced_digits,
    line,
    mnist,
    parabola,
    random_pairs,
    sine,
)
from runner.dataset.base import Pool, Samples, Spec

__all__ = [
    "Pool",
    "Samples",
    "Spec",
    "cifar10",
    "csv",
    "digits",
    "edges",
    "fashion_mnist",
    "image_folder",
    "imbalanced_digits",
    "line",
    "mnist",
    "parabola",
    "random_pairs",
    "sine",
]
