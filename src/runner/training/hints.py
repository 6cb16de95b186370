"""Where an error in the user's code was raised, and which build-time value a parameter was probably meant to be."""

import os
import traceback
from pathlib import Path

import torch

import runner

NOT_OWN = (os.__file__.removesuffix("os.py"), *(f"{module.__path__[0]}/" for module in (torch, runner)), "<")


SUPPLIED_AS = {
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
}  # what models call that the runner supplies under the first name


def hint_at_supplied(problem: str) -> str:
    """Return a hint where a model misses a key that looks like a value which the runner supplies by another name."""
    for name, others in SUPPLIED_AS.items():
        if problem.startswith(tuple(f"model.{other}: missing" for other in others)):
            what = "the shape of one input" if name == "in_shape" else "the number of outputs or classes"
            return f"; {what} is supplied to a parameter named {name}: rename the model's parameter"
    return ""


def place(error: BaseException) -> str:
    """Return where in a user's code an error was raised, as " (my_models.py:14 in forward)"; "" if not there."""
    found = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if not frame.filename.startswith(NOT_OWN):
            found = f" ({Path(frame.filename).name}:{frame.lineno} in {frame.name})"
    return found
