"""Hints for errors in the user's own components."""

import os
import re
import traceback
from collections.abc import Collection
from pathlib import Path

import torch

import runner

# Path prefixes of code that is not the user's own: the standard library, torch, runner, and generated code ("<...>").
NOT_OWN = (os.__file__.removesuffix("os.py"), *(f"{module.__path__[0]}/" for module in (torch, runner)), "<")

SUPPLIED_AS = {  # name of a supplied value -> names that models often use for it instead
    "in_shape": (
        "input_shape",
        "in_features",
        "in_channels",
        "in_dim",
        "input_size",
        "input_dim",
        "image_size",
        "img_size",
    ),
    "out_features": (
        "num_classes",
        "n_classes",
        "classes",
        "num_labels",
        "num_outputs",
        "out_dim",
        "output_size",
        "output_dim",
    ),
}


def hint_at_missing(problem: str, supplies: Collection[str]) -> str:
    """Return where a missing key belongs; "" if the problem is another one.

    Args:
        problem: line of a message.
        supplies: names of the values that the dataset supplies.
    """
    found = re.fullmatch(r"(\w+)\.\w+: missing, needed by (\w+)", problem)
    if not found:
        return ""
    for name, others in SUPPLIED_AS.items():
        if problem.startswith(tuple(f"model.{other}: missing" for other in others)):
            what = "the shape of one input" if name == "in_shape" else "the number of outputs or classes"
            return f"; {what} is supplied to a parameter named {name}: rename the model's parameter"
    supplied = f", or name a value that the dataset supplies: {', '.join(supplies)}" if supplies else ""
    return f"; add it to {found[1]}/{found[2]}.yaml{supplied if found[1] != 'dataset' else ''}"


def place(error: BaseException) -> str:
    """Return the place in the user's code at which an error was raised, as " (my_models.py:14 in forward)", or ""."""
    found = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if not frame.filename.startswith(NOT_OWN):
            found = f" ({Path(frame.filename).name}:{frame.lineno} in {frame.name})"
    return found
