"""Import torch._dynamo only when something needs it.

torch's optimizers import it on their first use, which takes a second, only to mark code that torch.compile must skip.
Without torch.compile, these marks have no effect. A stand-in for the module accepts them until another attribute is
requested.
"""

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from runner.speed.labels import label_always

NAME = "torch._dynamo"


class _StandIn(ModuleType):
    """Provide what eager optimizers call. Access to any other attribute imports the real module, which then stays."""

    def graph_break(self) -> None:
        """Mark a place where torch.compile splits the graph."""

    def disable(self, function: Callable[..., Any], recursive: bool = True, wrapping: bool = True) -> Any:
        """Mark a function that torch.compile skips."""
        return function

    def __getattr__(self, name: str) -> Any:
        if name in ("__file__", "__spec__", "__warningregistry__"):  # read by code that only inspects sys.modules
            raise AttributeError(name)
        if sys.modules.get(NAME) is self:
            label_always()  # torch.compile supports only the original class of labels
            del sys.modules[NAME]
            torch._dynamo = importlib.import_module(NAME)
        return getattr(sys.modules[NAME], name)


def import_when_needed() -> bool:
    """Install the stand-in, unless torch._dynamo has been imported; return whether the stand-in is in place."""
    if NAME not in sys.modules:
        sys.modules[NAME] = torch._dynamo = _StandIn(NAME)
    return isinstance(sys.modules[NAME], _StandIn)
