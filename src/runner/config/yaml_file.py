"""Read YAML files that contain only plain values, and limit the expansion of aliases."""

import math
from pathlib import Path
from typing import Any

import yaml

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C loader, which needs libyaml, is ten times as fast
LARGEST = 1_000_000  # largest number of values with all aliases expanded; a file without aliases may have more


def read_yaml(path: Path) -> Any:
    """Return the values in a file; None if it is empty.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: the file is not UTF-8.
        yaml.YAMLError: the file is not YAML, names code, is nested too deeply, or has too many values when aliases are
            expanded.
    """
    loader = Loader(path.read_text("utf-8"))
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        known: dict[int, float] = {}
        if _values(node, known) > max(LARGEST, len(known)):
            raise yaml.YAMLError(f"more than {LARGEST:,} values when its aliases are expanded")
        return loader.construct_document(node)
    except RecursionError as error:
        raise yaml.YAMLError("nested too deeply") from error
    finally:
        loader.dispose()


def _values(node: yaml.Node, known: dict[int, float]) -> float:
    """Return the number of values in a node, with all aliases expanded.

    Args:
        node: node to count.
        known: results for the nodes that have been counted, by identity; new results are added.
    """
    if id(node) not in known:
        known[id(node)] = math.inf  # for a node that contains itself: it is found again while being counted
        children = [each for pair in node.value for each in pair] if isinstance(node, yaml.MappingNode) else node.value
        inner = children if isinstance(node, yaml.CollectionNode) else []
        known[id(node)] = 1 + sum(_values(each, known) for each in inner)
    return known[id(node)]
