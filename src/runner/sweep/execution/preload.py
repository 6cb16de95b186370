"""Prepare the fork server.

Importing this module does it, because multiprocessing lets the server import modules but call no function. Import it
nowhere else.
"""

from runner.sweep.execution.server import prepare

prepare()
