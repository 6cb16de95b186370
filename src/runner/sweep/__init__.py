"""Sweeps: several runs started by one command.

jobs      the jobs, and sweep.yaml, which freezes them
plan      compose and check every job before the first one starts
driver    run a sweep, or resume one
pool      start and watch several jobs at a time
server    the process that has imported torch and forks a process for each job
worker    the functions that run in these processes
halving   stop jobs that fall behind
screen    the console output
table     the results: sweep.csv, sweep.json and sweep.md
picture   the results: sweep.png
"""
