"""Losses: from outputs [B, F] and targets to a number, or with reduction none to one for each sample.

A loss states with `targets=` what it compares the outputs with: `classes` (numbers [B]) or `values` ([B, F]).
"""

from runner.loss import bce_with_logits, cross_entropy, focal, huber, l1, mse, nll

__all__ = ["bce_with_logits", "cross_entropy", "focal", "huber", "l1", "mse", "nll"]
