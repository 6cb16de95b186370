"""The registered components, as tables and as JSON."""

import inspect
import json
import re
from typing import Any

from rich import box
from rich.table import Table

from runner.errors import ConfigError, nearest
from runner.metric.torchmetrics import paths
from runner.registry import ALL_REGISTRIES, METRICS, Registry
from runner.tracking.console import console


def chosen(group: str | None, name: str | None) -> list[tuple[Registry, str]]:
    """Return the registry and the name of each selected component.

    Args:
        group: group of the components; None for all groups.
        name: one component of the group, or a short name of torchmetrics; None for all of them.

    Raises:
        ConfigError: the group or component does not exist.
    """
    if group is not None and group not in ALL_REGISTRIES:
        raise ConfigError(f"found {group!r}; {nearest(group, ALL_REGISTRIES)}")
    registries = ALL_REGISTRIES.values() if group is None else [ALL_REGISTRIES[group]]
    if group is not None and name is not None:
        registry = ALL_REGISTRIES[group]
        if registry is METRICS and name not in registry.names():
            return [(registry, path) for path in paths(name) or [name]]
        registry.get(name)
        return [(registry, name)]
    return [(registry, each) for registry in registries for each in registry.names()]


def as_json(group: str | None, name: str | None) -> str:
    """Return the selected components as JSON, with parameters, types and defaults."""
    found = [
        {
            "group": registry.group,
            "name": each,
            "description": _describe(registry, each),
            "where": registry.get(each).where,
            "parameters": [
                {"name": key, "type": _type_name(parameter), **_default(parameter)}
                for key, parameter in registry.parameters(each).items()
            ],
        }
        for registry, each in chosen(group, name)
    ]
    return json.dumps(found, indent=2, default=str)


def _default(parameter: inspect.Parameter) -> dict[str, Any]:
    return {} if parameter.default is parameter.empty else {"default": parameter.default}


def print_components(group: str | None, name: str | None) -> None:
    """Print a table of the selected components, or the parameters of a single one.

    Args:
        group: group of the components; None for all groups.
        name: one component of the group, or a short name of torchmetrics; None for all of them.

    Raises:
        ConfigError: the group or component does not exist.
    """
    components = chosen(group, name)
    if name is not None:
        for component in components:
            _print_one(*component)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("group", "name", *(["parameters"] if group else []), "description"):
        table.add_column(column, overflow="fold")
    last = components[0][0]
    for registry, each in components:
        if registry is not last:
            table.add_section()
        parameters = [", ".join(registry.parameters(each))] if group else []
        table.add_row(registry.group, each, *parameters, _describe(registry, each))
        last = registry
    console.print(table)
    console.print("For the parameters, types and defaults of one: python -m runner components GROUP NAME")


def _print_one(registry: Registry, name: str) -> None:
    console.print(f"{registry.group}={name}: {_describe(registry, name)}\n{registry.get(name).where}\n")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("parameter", "type", "default"):
        table.add_column(column, overflow="fold")
    for key, parameter in registry.parameters(name).items():
        default = "" if parameter.default is parameter.empty else repr(parameter.default)
        table.add_row(f"{registry.group}.{key}", _type_name(parameter), default)
    console.print(table)


def _type_name(parameter: inspect.Parameter) -> str:
    if parameter.annotation is parameter.empty:
        return "any"
    return inspect.formatannotation(parameter.annotation).replace("typing.", "").replace("torch.", "")


def _describe(registry: Registry, name: str) -> str:
    """Return the first sentence of the component's docstring, without reStructuredText markup."""
    first, *_ = (inspect.getdoc(registry.get(name).component) or "").strip().split("\n\n")
    sentence = re.split(r"(?<!et al)(?<!e\.g)\. ", " ".join(first.split()))[0]
    return re.sub(r":\w+:`~?([^`]*)`", r"\1", sentence).replace("`", "").rstrip(".")
