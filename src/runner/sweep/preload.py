"""What the server imports before it forks: all that a run needs, so that no job imports it again."""

import gc
import importlib
import os
from contextlib import suppress

nowhere = os.open(os.devnull, os.O_WRONLY)
for stream in (1, 2):
    os.dup2(nowhere, stream)  # whoever reads the driver's output must not wait for the server to leave too
with suppress(OSError):
    os.setsid()  # a Ctrl-C in the terminal is for the driver, which tells the jobs

for module in ("runner.sweep.worker", "runner.pictures"):
    importlib.import_module(module)
importlib.import_module("runner.check").installed_plugins()
for registry in importlib.import_module("runner.registry").REGISTRIES.values():
    registry.names()  # imports the components
gc.collect()
gc.freeze()  # shared with all jobs: their collectors need not touch it, and so not copy it
