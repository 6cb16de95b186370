"""Names for components: a config says `lenet`, the registry knows the class and the types of its parameters."""

import importlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from runner.errors import ConfigError, nearest

T = TypeVar("T", bound=Callable[..., Any])

# Known only when a run is built. A component that names one of them as a parameter is handed its value.
SUPPLIED = {"in_shape", "out_features", "params", "optimizer", "total_steps", "class_counts", "last_epoch"}


@dataclass(frozen=True)
class Entry:
    """A registered component and what the runner needs to know beside its signature."""

    component: Callable[..., Any]
    where: str
    supply: Mapping[str, str]  # parameter -> the supplied value it takes, where the names differ
    hide: tuple[str, ...]  # parameters that no config may set
    facts: Mapping[str, Any]


class Registry:
    """The components of one group, by name.

    Args:
        group: the group's name, as in `conf/`; its own components lie in the package `runner.<group>`.
    """

    def __init__(self, group: str) -> None:
        self.group = group
        self._entries: dict[str, Entry] = {}

    def register(
        self, name: str, *, supply: Mapping[str, str] | None = None, hide: tuple[str, ...] = (), **facts: Any
    ) -> Callable[[T], T]:
        """Decorates the class or function that `name` stands for. Raises ValueError when another has the name."""

        def add(component: T) -> T:
            where = f"{component.__module__}.{component.__qualname__}"
            known = self._entries.get(name)
            if known and known.where != where:
                raise ValueError(f"{self.group} {name!r} is registered twice: by {known.where} and by {where}")
            self._entries[name] = Entry(component, where, supply or {}, hide, facts)
            return component

        return add

    def names(self) -> list[str]:
        importlib.import_module(f"runner.{self.group}")
        return sorted(self._entries)

    def get(self, name: str) -> Entry:
        """Raises ConfigError, with the nearest names, when nothing has this name."""
        if name not in self.names():
            raise ConfigError(f"{self.group}.name: found {name!r}; {nearest(name, self.names())}")
        return self._entries[name]

    def parameters(self, name: str) -> dict[str, inspect.Parameter]:
        """The parameters that a config sets: all of the signature but those supplied at build time."""
        entry = self.get(name)
        reserved = {*SUPPLIED, *entry.supply, *entry.hide}
        signature = inspect.signature(entry.component, eval_str=True)
        return {key: parameter for key, parameter in signature.parameters.items() if key not in reserved}

    def problems(self, name: str, values: Mapping[str, Any]) -> list[str]:
        """What keeps `values` from being handed to the component: unknown, missing and wrongly typed keys."""
        parameters = self.parameters(name)
        unknown = [f"{self.group}.{key}: no such key; {nearest(key, parameters)}" for key in values.keys() - parameters]
        missing = [f"{self.group}.{key}: missing, needed by {name}" for key in parameters.keys() - values]
        typed = [self._mistyped(parameters[key], value) for key, value in values.items() if key in parameters]
        return [*sorted(unknown), *sorted(missing), *filter(None, typed)]

    def _mistyped(self, parameter: inspect.Parameter, value: Any) -> str | None:
        if parameter.annotation is parameter.empty:
            return None
        adapter = TypeAdapter(parameter.annotation, config=ConfigDict(arbitrary_types_allowed=True, strict=True, allow_inf_nan=False))
        try:
            adapter.validate_json(json.dumps(value))  # JSON rules: a list is fine for a tuple, "1" is no number
        except ValidationError as error:
            reasons = {e["msg"] for e in error.errors() if e["type"] != "needs_python_object"}
            return f"{self.group}.{parameter.name}: found {value!r}; {' or '.join(sorted(reasons))}"
        return None

    def build(self, name: str, values: Mapping[str, Any], **supplied: Any) -> Any:
        """The component, made from the config's values and those of `supplied` that its signature asks for."""
        entry = self.get(name)
        wanted = {key: entry.supply.get(key, key) for key in inspect.signature(entry.component).parameters}
        own = {key: supplied[source] for key, source in wanted.items() if source in supplied and key not in values}
        return entry.component(**values, **own)


MODELS, LOSSES, OPTIMIZERS = Registry("model"), Registry("loss"), Registry("optim")
SCHEDULERS, DATASETS = Registry("scheduler"), Registry("dataset")
