"""Names for components: a config says `lenet`, the registry knows the class and the types of its parameters."""

import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from runner.errors import ConfigError, advice, nearest

T = TypeVar("T", bound=Callable[..., Any])

# Known only when a run is built. A component that names one of them as a parameter is handed its value.
SUPPLIED = {"in_shape", "out_features", "params", "optimizer", "total_steps", "class_counts", "last_epoch"}
STRICT = ConfigDict(arbitrary_types_allowed=True, strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Entry:
    """A registered component, and what the runner needs to know beside its signature."""

    component: Callable[..., Any]
    where: str
    supply: Mapping[str, str]  # parameter -> the supplied value it takes, where the names differ
    hide: tuple[str, ...]  # parameters that no config may set
    facts: Mapping[str, Any]


class Registry:
    """The components of one group, as in `conf/`, by name; the runner's own are the modules of `runner.<group>`."""

    def __init__(self, group: str) -> None:
        self.group = group
        self._entries: dict[str, Entry] = {}
        self._imported = False

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
        """Return the names of all components, sorted."""
        if not self._imported:
            self._import_modules()
            self._imported = True
        return sorted(self._entries)

    def _import_modules(self) -> None:
        """Import every module in the package of the group, so that a new file needs no list to be added to."""
        package = importlib.import_module(f"runner.{self.group}")
        for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda found: found.name):
            importlib.import_module(f"{package.__name__}.{module.name}")

    def get(self, name: str) -> Entry:
        """Raises ConfigError, with the nearest names, when nothing has this name."""
        if name not in self.names():
            raise ConfigError(f"{self.group}.name: found {name!r}; {nearest(name, self.names())}")
        return self._entries[name]

    def parameters(self, name: str) -> dict[str, inspect.Parameter]:
        """The parameters that a config sets: all of the signature but those supplied at build time."""
        entry = self.get(name)
        signature = inspect.signature(entry.component, eval_str=True)
        return {k: p for k, p in signature.parameters.items() if k not in {*SUPPLIED, *entry.supply, *entry.hide}}

    def check(self, name: str, values: Mapping[str, Any], path: str | None = None) -> None:
        """Raises ConfigError with a line for each key of `values` that is unknown, missing or of the wrong type."""
        path, parameters = path or self.group, self.parameters(name)
        unknown = [f"{path}.{key}: no such key; {nearest(key, parameters)}" for key in values.keys() - parameters]
        missing = [f"{path}.{key}: missing, needed by {name}" for key in parameters.keys() - values]
        typed = [_mistyped(path, parameters[key], value) for key, value in values.items() if key in parameters]
        if problems := [*sorted(unknown), *sorted(missing), *filter(None, typed)]:
            raise ConfigError(*problems)

    def build(self, name: str, values: Mapping[str, Any], **supplied: Any) -> Any:
        """The component, made from the config's values and those of `supplied` that its signature asks for."""
        entry = self.get(name)
        wanted = {key: entry.supply.get(key, key) for key in inspect.signature(entry.component).parameters}
        return entry.component(**values, **{key: supplied[name] for key, name in wanted.items() if name in supplied})


def _mistyped(path: str, parameter: inspect.Parameter, value: Any) -> str | None:
    if parameter.annotation is parameter.empty:
        return None
    try:  # by the rules of JSON: a list is fine for a tuple, "1" is no number
        TypeAdapter(parameter.annotation, config=STRICT).validate_json(json.dumps(value))
    except ValidationError as error:
        reasons = {each["msg"] for each in error.errors() if each["type"] != "needs_python_object"}
        end = advice(f"{path}.{parameter.name}", value, [each["type"] for each in error.errors()])
        return f"{path}.{parameter.name}: found {value!r}; {' or '.join(sorted(reasons))}{end}"
    return None


MODELS, LOSSES, OPTIMIZERS = Registry("model"), Registry("loss"), Registry("optim")
SCHEDULERS, DATASETS = Registry("scheduler"), Registry("dataset")
REGISTRIES = {registry.group: registry for registry in (MODELS, LOSSES, OPTIMIZERS, SCHEDULERS, DATASETS)}
