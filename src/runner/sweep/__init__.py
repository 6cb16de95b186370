"""Sweeps: several runs started by one command.

jobs        the jobs, and sweep.yaml, which freezes them
plan        compose and check every job before the first one starts
driver      run a sweep, or resume one
execution/  the processes of the jobs
report/     the console output, and the table and picture of the results
halving     stop jobs that fall behind
race/       run groups with more and more seeds, and drop the worse ones
search      what is kept of a search with Optuna
resumption  resume a search
"""
