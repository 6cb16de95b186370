"""Races: run groups with more and more seeds, and drop those that are significantly worse.

jobs     the jobs: each group with each seed
race     which jobs run next
rule     which groups are dropped after which number of seeds
verdict  the verdict at the end
"""
