"""What the server imports before it forks: all that a run needs, so that no job imports it again."""

import importlib
import os
import signal
from contextlib import suppress

from runner.speed.imports import uncollected

nowhere = os.open(os.devnull, os.O_WRONLY)
for stream in (1, 2):
    os.dup2(nowhere, stream)  # whoever reads the driver's output must not wait for the server to leave too
with suppress(OSError):
    os.setsid()  # a Ctrl-C in the terminal is for the driver, which tells the jobs
for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, signal.SIG_IGN)  # nor is what a cluster sends to all processes: it ends with the driver

# The last three are what numpy's seed, torch.save and Pillow's writer import when they are first used.
MODULES = (
    *("runner.sweep.worker", "runner.tracking.pictures"),
    *("numpy.random", "torch.utils.serialization", "PIL.JpegImagePlugin"),
)
with uncollected():  # what is there then is shared with all jobs: their collectors do not touch it, and so not copy it
    for module in MODULES:
        importlib.import_module(module)
    importlib.import_module("runner.plugins").installed_plugins()
    for registry in importlib.import_module("runner.registry").REGISTRIES.values():
        registry.names()  # imports the components
