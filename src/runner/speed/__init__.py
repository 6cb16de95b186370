"""Make the program start and step faster, and change nothing else.

`enable` is all that the rest of the program uses, in `runner.machine.startup`. Without this folder every command
works the same, only slower.
"""

import gc
import sys


def enable() -> None:
    """Import torch quickly and let it step faster in this process. A second call changes nothing."""
    first = "torch" not in sys.modules and gc.isenabled()
    if first:
        gc.disable()  # a third of the time to import torch is the search for garbage, of which there is none
    try:
        from runner.speed import dynamo, labels, memory
    finally:
        if first:
            gc.freeze()  # what torch has created stays; later collections skip it
            gc.enable()
    memory.keep_freed_memory()
    if dynamo.import_when_needed():
        labels.label_when_profiled()
