"""torch._dynamo, imported when something needs it.

torch's optimizers import it at their first use, for a second, just to mark where torch.compile must not look; without
torch.compile that marks nothing. Until anything else of it is asked for, a stand-in answers.
"""

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

NAME = "torch._dynamo"


class _StandIn(ModuleType):
    """Has what eager optimizers call; whoever asks for more gets the real module, which then stays."""

    def graph_break(self) -> None:
        """Marks a place for torch.compile."""

    def disable(self, function: Callable[..., Any], recursive: bool = True, wrapping: bool = True) -> Any:
        """Marks a function for torch.compile."""
        return function

    def __getattr__(self, name: str) -> Any:
        if name in ("__file__", "__spec__", "__warningregistry__"):  # asked by those who only look around
            raise AttributeError(name)
        if sys.modules.get(NAME) is self:
            del sys.modules[NAME]
            torch._dynamo = importlib.import_module(NAME)
        return getattr(sys.modules[NAME], name)


def import_when_needed() -> None:
    """Puts the stand-in where torch looks, unless the real one is there already."""
    if NAME not in sys.modules:
        sys.modules[NAME] = torch._dynamo = _StandIn(NAME)
