"""Datasets. Each has a `spec`, which depends only on its arguments, and a method `load` that returns the samples."""

from runner.dataset.base import Pool, Samples, Spec

__all__ = ["Pool", "Samples", "Spec"]
