"""Registries of components: each maps the names that configs use to classes or functions.

A component whose signature has one of the `SUPPLIED` names receives a value that is known only when a run is built.
These names are reserved: no config can set them, so a component must not use them for parameters of its own.
"""

import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from runner.errors import ConfigError, advice, nearest

T = TypeVar("T", bound=Callable[..., Any])

SUPPLIED = {"in_shape", "out_features", "params", "optimizer", "total_steps", "class_counts", "last_epoch"}
SUPPLIED |= {"dataset_task"}
STRICT = ConfigDict(arbitrary_types_allowed=True, strict=True, allow_inf_nan=False)


@checked_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Traits:
    """What the runner needs to know about a component besides its signature.

    Args:
        supply: name of the supplied value for each parameter that has a different name, such as
            `{"T_max": "total_steps"}`.
        hide: parameters that no config may set.
        channels_last: for a model: whether it is usually faster in the channels-last memory format, or a function that
            returns this for its values in the config and the type of the device.
        contiguous: for an optimizer: whether it needs contiguous gradients, so that the model must stay in the default
            memory format.
        targets: for a loss: what it compares the outputs with, class indices [B] or values [B, F]. None: whatever
            the dataset has.
        takes: for a loss: what the model must return, such as log-probabilities. None: any values.
    """

    supply: Mapping[str, str] = field(default_factory=dict)
    hide: tuple[str, ...] = ()
    channels_last: bool | Callable[[Mapping[str, Any], str], bool] = False
    contiguous: bool = False
    targets: Literal["classes", "values"] | None = None
    takes: Literal["log_probabilities"] | None = None


@dataclass(frozen=True)
class Entry:
    """A registered component.

    Args:
        component: class or function.
        where: its module and qualified name.
        traits: what the runner needs to know about it.
    """

    component: Callable[..., Any]
    where: str
    traits: Traits


class Registry:
    """The components of one group by name. The built-in ones are found in the modules of the package `runner.<group>`.

    Args:
        group: name of the group, as in `conf/`.
    """

    def __init__(self, group: str) -> None:
        self.group = group
        self._entries: dict[str, Entry] = {}
        self._imported = False
        self._find: Callable[[str], Entry | None] = lambda name: None

    def register(self, name: str, **traits: Any) -> Callable[[T], T]:
        """Return a decorator that registers a class or function.

        Args:
            name: name of the component in configs.
            traits: arguments of `Traits`.

        Raises:
            TypeError: there is no such trait, or its value is not allowed.
            ValueError: another component has this name.
        """
        checked = self._check_traits(name, traits)

        def add(component: T) -> T:
            where = f"{component.__module__}.{component.__qualname__}"
            known = self._entries.get(name)
            if known and known.where != where:
                raise ValueError(f"{self.group} {name!r} is registered twice: by {known.where} and by {where}")
            self._entries[name] = Entry(component, where, checked)
            return component

        return add

    def otherwise(self, find: Callable[[str], Entry | None]) -> None:
        """Set a function that finds components that are not registered, such as those of another library, by name."""
        self._find = find

    def _check_traits(self, name: str, traits: Mapping[str, Any]) -> Traits:
        """Return the traits with checked types.

        Raises:
            TypeError: there is no such trait, or its value is not allowed.
        """
        unknown = [key for key in traits if key not in Traits.__dataclass_fields__]
        if unknown:
            hint = nearest(unknown[0], Traits.__dataclass_fields__)
            raise TypeError(f"{self.group} {name!r}: register() has no argument {unknown[0]!r}; {hint}")
        try:
            return Traits(**traits)
        except ValidationError as error:
            problem = error.errors()[0]
            reason = f"{problem['loc'][0]}: found {problem['input']!r}; {problem['msg']}"
            raise TypeError(f"{self.group} {name!r}: {reason}") from error

    def names(self) -> list[str]:
        """Return the names of all components, sorted."""
        if not self._imported:
            self._import_modules()
            self._imported = True
        return sorted(self._entries)

    def _import_modules(self) -> None:
        """Import every module of the group's package, so that a new file need not be listed anywhere."""
        package = importlib.import_module(f"runner.{self.group}")
        for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda found: found.name):
            importlib.import_module(f"{package.__name__}.{module.name}")

    def get(self, name: str) -> Entry:
        """Return the component with this name.

        Raises:
            ConfigError: there is none; the message suggests the nearest name.
        """
        if name in self.names():
            return self._entries[name]
        found = self._find(name)
        if found is None:
            raise ConfigError(f"{self.group}.name: found {name!r}; {nearest(name, self.names())}")
        return found

    def parameters(self, name: str) -> dict[str, inspect.Parameter]:
        """Return the parameters that a config sets: those of the signature that are neither supplied nor hidden."""
        entry = self.get(name)
        signature = inspect.signature(entry.component, eval_str=True)
        excluded = {*SUPPLIED, *entry.traits.supply, *entry.traits.hide}
        return {key: parameter for key, parameter in signature.parameters.items() if key not in excluded}

    def check(
        self, name: str, values: Mapping[str, Any], path: str | None = None, optional: Collection[str] = ()
    ) -> None:
        """Check the values of a config against the signature of a component.

        Args:
            name: name of the component.
            values: values by parameter.
            path: key of the values in the config, for messages; None: the name of the group.
            optional: parameters that may be missing, for example because the dataset supplies them.

        Raises:
            ConfigError: with one line for each key that is unknown, missing or of the wrong type.
        """
        parameters = self.parameters(name)
        check_values(path or self.group, values, parameters, [key for key in parameters if key not in optional], name)

    def build(self, name: str, values: Mapping[str, Any], **supplied: Any) -> Any:
        """Build a component.

        Args:
            name: name of the component.
            values: values by parameter, from the config.
            supplied: values that are known only now; the component receives those that its signature has and the config
                does not set.

        Returns:
            The instance of the class, or what the function returns.
        """
        entry = self.get(name)
        sources = {key: entry.traits.supply.get(key, key) for key in inspect.signature(entry.component).parameters}
        known = {key: supplied[source] for key, source in sources.items() if source in supplied and key not in values}
        return entry.component(**values, **known)


def check_values(
    path: str,
    values: Mapping[str, Any],
    parameters: Mapping[str, inspect.Parameter],
    required: Collection[str],
    name: str,
) -> None:
    """Check the values of a config against parameters.

    Args:
        path: key of the values in the config, for messages.
        values: values by parameter.
        parameters: the parameters that may be set.
        required: those that must be set.
        name: name of the component, for messages.

    Raises:
        ConfigError: with one line for each key that is unknown, missing or of the wrong type.
    """
    unknown = [f"{path}.{key}: no such key; {nearest(key, parameters)}" for key in values.keys() - parameters]
    missing = [f"{path}.{key}: missing, needed by {name}" for key in required if key not in values]
    mistyped = [_check_type(path, parameters[key], value) for key, value in values.items() if key in parameters]
    if problems := [*sorted(unknown), *sorted(missing), *filter(None, mistyped)]:
        raise ConfigError(*problems)


def typed(parameter: inspect.Parameter, value: Any) -> Any:
    """Return a value of a config in the type of a parameter.

    The value is validated as JSON, in which a list is valid for a tuple, but "1" is not a number.

    Raises:
        ValidationError: it has another type.
    """
    if parameter.annotation is parameter.empty:
        return value
    return TypeAdapter(parameter.annotation, config=STRICT).validate_json(json.dumps(value))


def _check_type(path: str, parameter: inspect.Parameter, value: Any) -> str | None:
    """Return what is wrong with the type of a value, or None."""
    try:
        typed(parameter, value)
    except ValidationError as error:
        reasons = {each["msg"] for each in error.errors() if each["type"] != "needs_python_object"}
        end = advice(f"{path}.{parameter.name}", value, [each["type"] for each in error.errors()])
        return f"{path}.{parameter.name}: found {value!r}; {' or '.join(sorted(reasons))}{end}"
    return None


MODELS, LOSSES, OPTIMIZERS = Registry("model"), Registry("loss"), Registry("optim")
SCHEDULERS, DATASETS = Registry("scheduler"), Registry("dataset")
TASKS, METRICS = Registry("task"), Registry("metric")
# The groups from which a config chooses one component each; `metrics` is a list.
REGISTRIES = {registry.group: registry for registry in (MODELS, LOSSES, OPTIMIZERS, SCHEDULERS, DATASETS, TASKS)}
ALL_REGISTRIES = {**REGISTRIES, METRICS.group: METRICS}
