"""Optimizations that make start-up and training steps faster, and change nothing else.

The rest of the program uses only `enable`, in `runner.machine.startup`. Without this folder, every command works the
same, only slower.
"""

import gc
import sys


def enable() -> None:
    """Import torch, and apply the optimizations to this process. A second call changes nothing."""
    first = "torch" not in sys.modules and gc.isenabled()
    if first:
        gc.disable()  # the collector takes a third of the time to import torch, and finds no garbage
    try:
        from runner.speed import dynamo, labels, memory
    finally:
        if first:
            gc.freeze()  # torch's objects stay alive, so later collections can skip them
            gc.enable()
    memory.keep_freed_memory()
    if dynamo.import_when_needed():
        labels.label_when_profiled()
