"""Imports without the garbage collector: a third of the time to import torch is its search for what is garbage."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """While entered, the collector rests; afterwards it leaves alone what was made, which is there to stay.

    Where torch is imported already, nothing changes: what was made since may well be garbage.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
