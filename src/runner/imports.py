"""Imports without the garbage collector: a third of the time to import torch is its search for what is garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """While entered, the collector rests; afterwards it leaves alone what was made, which is there to stay."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
