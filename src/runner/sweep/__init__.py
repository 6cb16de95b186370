"""Several runs started by one command.

jobs      which runs: listed, checked, and frozen in sweep.yaml
driver    the steps of a sweep, and of its resume
server    a process that has imported torch, and forks one for each job
pool      so many jobs at a time: starts them, watches them, tells how they ended
screen    what a person sees meanwhile
table     what came of it: sweep.csv, .json, .md
picture   and sweep.png
"""
