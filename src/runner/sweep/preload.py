"""Prepare the fork server. Importing this file does it, as multiprocessing offers no call: import it nowhere else."""

from runner.sweep.server import prepare

prepare()
