"""Inputs and targets: a tensor, or a tuple or dict of tensors."""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

Tree: TypeAlias = Any  # a Tensor, or a tuple or dict of trees; recursive types are beyond mypy's checks of users' code


def map_tensors(function: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """Return a tree with the function's values for the tensors of a tree.

    Args:
        function: called with a tensor of `tree` and the corresponding ones of `others`.
        tree: a tensor, or a tuple, list or dict of trees; other objects, such as None, are passed on unchanged.
        others: trees of the same structure.
    """
    if isinstance(tree, Tensor):
        return function(tree, *others)
    if isinstance(tree, dict):
        return {key: map_tensors(function, value, *(other[key] for other in others)) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        values = [map_tensors(function, *parts) for parts in zip(tree, *others, strict=True)]
        return type(tree)(*values) if hasattr(tree, "_fields") else type(tree)(values)
    return tree


def tensors(tree: Tree) -> list[Tensor]:
    """Return the tensors of a tree, in order."""
    if isinstance(tree, Tensor):  # by far the most frequent case, at each step
        return [tree]
    found: list[Tensor] = []
    map_tensors(found.append, tree)
    return found


def bytes_of(tensor: Tensor) -> memoryview:
    """Return the bytes of a tensor on any device, for a hash; NumPy does not have all types, such as bfloat16."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data


def samples(tree: Tree) -> int:
    """Return the number of samples in a tree: the length of its first tensor.

    Raises:
        ValueError: the tree has no tensor.
    """
    found = tensors(tree)
    if not found:
        raise ValueError(f"expected a tensor, or a tuple or dict of tensors, found {type(tree).__name__}")
    return len(found[0])


def is_tree(value: Any) -> bool:
    """Return whether a value is a tensor, or a tuple or dict of trees."""
    if isinstance(value, dict):
        return bool(value) and all(map(is_tree, value.values()))
    if isinstance(value, tuple):
        return bool(value) and all(map(is_tree, value))
    return isinstance(value, Tensor)


def take(tree: Tree, indices: Tensor) -> Tree:
    """Return the samples with the given indices [N]."""
    return map_tensors(lambda tensor: _select(tensor, indices), tree)


def _select(tensor: Tensor, indices: Tensor) -> Tensor:
    """Return the samples with the given indices [N], in the memory format of the tensor."""
    if tensor.ndim != 4 or tensor.is_contiguous() or not tensor.is_contiguous(memory_format=torch.channels_last):
        return tensor.index_select(0, indices)  # which returns the default memory format
    return tensor.permute(0, 2, 3, 1).index_select(0, indices).permute(0, 3, 1, 2)


def at(values: Any, index: int) -> Tree:
    """Return one sample of a tree, or of an object that reads one at a time."""
    if is_tree(values):
        return map_tensors(lambda tensor: tensor[index], values)
    value = values[index]
    return torch.tensor(value) if isinstance(value, int | float) else value
