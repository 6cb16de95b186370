"""A model as a table: layers, output shapes, parameters."""

import torch
from torch import Tensor, nn


def count_parameters(model: nn.Module) -> int:
    """Numbers that training may change."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def summarize(model: nn.Module, in_shape: tuple[int, ...]) -> str:
    """A line for each layer (name, kind, output shape for a batch of B, parameters) and for each parameter tensor.

    Args:
        model: on any device, `meta` included; its mode and weights stay as they are.
        in_shape: shape of one input.
    """
    shapes: dict[str, str] = {}

    def note(name: str) -> object:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            first = output[0] if isinstance(output, tuple) else output
            if isinstance(first, Tensor):
                shapes[name] = f"({', '.join(['B', *map(str, first.shape[1:])])})"

        return hook

    layers = {name: module for name, module in model.named_modules() if not list(module.children()) and name}
    handles = [module.register_forward_hook(note(name)) for name, module in layers.items()]
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():  # not inference_mode: the model may keep a tensor that training needs
            model.eval()(torch.zeros(2, *in_shape, device=device))
    finally:
        for module, training in modes.items():
            module.training = training
        for handle in handles:
            handle.remove()

    rows = [("layer", "kind", "output", "parameters")]
    rows += [
        (name, type(module).__name__, shapes.get(name, ""), f"{sum(p.numel() for p in module.parameters()):,}")
        for name, module in layers.items()
    ]
    tensors = [("parameter", "shape", "", "numbers")]
    tensors += [(name, str(tuple(p.shape)), "", f"{p.numel():,}") for name, p in model.named_parameters()]
    total = f"{count_parameters(model):,} trainable parameters"
    return "\n\n".join([type(model).__name__, _table(rows), _table(tensors), total]) + "\n"


def _table(rows: list[tuple[str, str, str, str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=False)), row[3].rjust(widths[3])])
        for row in rows
    )
