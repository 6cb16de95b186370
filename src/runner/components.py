"""What the registry holds, as tables for a person."""

import inspect
import re

from rich import box
from rich.table import Table

from runner.errors import ConfigError, nearest
from runner.log import console
from runner.registry import REGISTRIES, Registry


def print_components(group: str | None, name: str | None) -> None:
    """A line for each component; for one alone, its parameters too.

    Raises:
        ConfigError: there is no such group or component.
    """
    if group is not None and group not in REGISTRIES:
        raise ConfigError(f"found {group!r}; {nearest(group, REGISTRIES)}")
    if group is not None and name is not None:
        _print_one(REGISTRIES[group], name)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("group", "name", "parameters", "what it is"):
        table.add_column(column, overflow="fold")
    for registry in REGISTRIES.values() if group is None else [REGISTRIES[group]]:
        for each in registry.names():
            table.add_row(registry.group, each, ", ".join(registry.parameters(each)), _describe(registry, each))
        table.add_section()
    console.print(table)
    console.print("Parameters, types and defaults of one: python -m runner components GROUP NAME")


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
    """The first sentence of its docstring, without the markup of torch's."""
    first, *_ = (inspect.getdoc(registry.get(name).component) or "").strip().split("\n\n")
    sentence = " ".join(first.split()).split(". ")[0]
    return re.sub(r":\w+:`~?([^`]*)`", r"\1", sentence).replace("`", "").rstrip(".")
