"""Metrics: cheap sums on the device, those of torchmetrics by name, and the user's own (`runner.metric.Metric`)."""

from runner.metric.base import Metric, SumMetric

__all__ = ["Metric", "SumMetric"]
