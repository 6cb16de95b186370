"""A summary of a model: layers, output shapes, parameters."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def summarize(model: nn.Module, call: Callable[[], object]) -> str:
    """Return a table of the layers and one of the parameter tensors.

    Args:
        model: model on any device, including `meta`; its mode and weights are not changed.
        call: calls the model with a batch.
    """
    layers = {name: module for name, module in model.named_modules() if not list(module.children()) and name}
    shapes = output_shapes(model, layers, call)
    rows = [("layer", "kind", "output", "parameters")]
    rows += [
        (name, type(module).__name__, shapes.get(name, ""), f"{sum(p.numel() for p in module.parameters()):,}")
        for name, module in layers.items()
    ]
    tensors = [("parameter", "shape", "", "numbers")]
    tensors += [(name, str(tuple(p.shape)), "", f"{p.numel():,}") for name, p in model.named_parameters()]
    total = f"{count_parameters(model):,} trainable parameters"
    return "\n\n".join([type(model).__name__, _table(rows), _table(tensors), total]) + "\n"


def output_shapes(model: nn.Module, layers: dict[str, nn.Module], call: Callable[[], object]) -> dict[str, str]:
    """Return the output shape of each layer that a forward pass reaches, with B for the batch size."""
    shapes: dict[str, str] = {}

    def record(name: str, output: object) -> None:
        first = output[0] if isinstance(output, tuple) else output
        if isinstance(first, Tensor):
            shapes[name] = f"({', '.join(['B', *map(str, first.shape[1:])])})"

    handles = [
        module.register_forward_hook(lambda module, inputs, output, name=name: record(name, output))
        for name, module in layers.items()
    ]
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():  # not inference_mode: the model may keep a tensor that training needs
            model.eval()
            call()
    finally:
        for module, training in modes.items():
            module.training = training
        for handle in handles:
            handle.remove()
    return shapes


def _table(rows: list[tuple[str, str, str, str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=False)), row[3].rjust(widths[3])])
        for row in rows
    )
