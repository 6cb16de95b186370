"""Datasets: each has a `spec`, known from its arguments alone, and `load()`, which reads the samples."""

from runner.dataset.base import Pool, Samples, Spec

__all__ = ["Pool", "Samples", "Spec"]
