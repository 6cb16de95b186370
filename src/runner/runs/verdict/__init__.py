"""Verdicts: which groups of runs are worse than the best one, and which cannot be told apart from it.

scores     the score of each run, and which runs may be compared
groups     the groups of runs that differ only in seed or fold, and the verdict about them
procedure  the statistics
decision   which comparison the runs allow, and its result for each group
judge      the verdicts about any runs
sentences  a verdict in words
"""
