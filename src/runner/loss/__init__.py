"""Losses: modules that map outputs [B, F] and targets to a scalar, or with `reduction=none` to unreduced values.

A loss is registered with the targets that it compares the outputs with: `classes` (class indices [B]) or `values`
([B, F]).
"""
