"""Losses: from outputs [B, F] and targets to a number, or with reduction none to one for each sample.

A loss states with `targets=` what it compares the outputs with: `classes` (numbers [B]) or `values` ([B, F]).
"""
