"""Reading YAML that others wrote: plain values, and no document that grows when its aliases are followed."""

from pathlib import Path
from typing import Any

import yaml

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml is there
LARGEST = 1_000_000  # values, with every alias written out


def read_yaml(path: Path) -> Any:
    """The values in a file.

    Raises:
        OSError, UnicodeDecodeError: it cannot be read. yaml.YAMLError: it is no YAML, or would grow beyond bounds.
    """
    loader = Loader(path.read_text("utf-8"))
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _values(node, {}) > LARGEST:
            raise yaml.YAMLError(f"its aliases make more than {LARGEST:,} values")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node has, an alias counting as what it stands for."""
    if id(node) not in known:
        known[id(node)] = LARGEST + 1  # met again before it is counted: it contains itself
        children = [each for pair in node.value for each in pair] if isinstance(node, yaml.MappingNode) else node.value
        inner = children if isinstance(node, yaml.CollectionNode) else []
        known[id(node)] = 1 + sum(_values(each, known) for each in inner)
    return known[id(node)]
