"""The entries of `optim.groups`: which parameters they take, and with which optimizer these are trained.

Each parameter belongs to the first entry that matches it; `optim` trains the rest. The values of an entry come from

    the entry itself      all keys other than `match`, `ndim` and `optimizer`
    `optim`               the other keys, if the entry names no other optimizer
    the constructor       the other keys, if the entry names another optimizer: nothing is inherited from `optim`
"""

from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.optim import Optimizer

from runner.config.schema import Optim
from runner.errors import ConfigError, nearest
from runner.optim.closure import needs_closure
from runner.optim.composite import Composite
from runner.optim.momentum import complete_momentum
from runner.registry import OPTIMIZERS
from runner.training.setup.hints import place

OWN = ("match", "ndim", "optimizer")  # keys of an entry that are not arguments of its optimizer


@dataclass(frozen=True)
class ParamGroup:
    """An entry of `optim.groups`.

    Args:
        key: its key, for messages.
        match: pattern for parameter names.
        ndim: numbers of dimensions that a parameter may have; empty for any.
        optimizer: name of its optimizer.
        values: arguments of the optimizer.
    """

    key: str
    match: str
    ndim: tuple[int, ...]
    optimizer: str
    values: dict[str, Any]

    @property
    def takes_all(self) -> bool:
        """Whether it takes all parameters that are left."""
        return self.match == "*" and not self.ndim

    def takes(self, name: str, parameter: nn.Parameter) -> bool:
        """Return whether a parameter matches."""
        return fnmatchcase(name, self.match) and (not self.ndim or parameter.ndim in self.ndim)


Assigned = list[tuple[ParamGroup, list[nn.Parameter]]]


def read_group(optim: Optim, index: int) -> ParamGroup:
    """Return an entry of `optim.groups`; its values are not checked.

    Raises:
        ConfigError: with one line for each of `match`, `ndim` and `optimizer` that is missing or wrong.
    """
    key, entry = f"optim.groups[{index}]", optim.groups[index]
    match, ndim, name = entry.get("match"), entry.get("ndim"), entry.get("optimizer", optim.name)
    dims: list[Any] = ndim if isinstance(ndim, list) else [ndim]
    problems = []
    if match is None and ndim is None:
        problems.append(f"{key}.match: needs a pattern for parameter names, such as '*.bias', unless ndim is given")
    elif not isinstance(match, str | None):
        problems.append(f"{key}.match: found {match!r}; needs a pattern for parameter names, such as '*.bias'")
    if ndim is not None and not (dims and all(type(each) is int and each >= 0 for each in dims)):
        problems.append(f"{key}.ndim: found {ndim!r}; needs a number of dimensions, such as 2, or a list of them")
    if "optimizer" in entry and not is_registered(name):
        problems.append(f"{key}.optimizer: found {name!r}; {nearest(str(name), OPTIMIZERS.names())}")
    if problems:
        raise ConfigError(*problems)
    values = {key: value for key, value in entry.items() if key not in OWN}
    return ParamGroup(key, "*" if match is None else match, () if ndim is None else tuple(dims), name, values)


def is_registered(name: object) -> bool:
    """Return whether an optimizer has this name."""
    with suppress(ConfigError):
        return isinstance(name, str) and bool(OPTIMIZERS.get(name))
    return False


def check_values(optim: Optim, group: ParamGroup) -> None:
    """Check the values of an entry against the signature of its optimizer.

    Raises:
        ConfigError: with one line for each key that is unknown, missing or of the wrong type.
    """
    parameters = OPTIMIZERS.parameters(group.optimizer)
    unknown = sorted(group.values.keys() - parameters)
    if unknown:
        raise ConfigError(*(f"{group.key}.{key}: no such key; {nearest(key, [*OWN, *parameters])}" for key in unknown))
    inherits = group.optimizer == optim.name
    optional = [key for key, each in parameters.items() if inherits or each.default is not each.empty]
    OPTIMIZERS.check(group.optimizer, group.values, group.key, optional)


def assign(optim: Optim, model: nn.Module) -> Assigned:
    """Return the groups that have parameters, with their parameters; the last one is the rest, if there is any.

    Raises:
        ConfigError: an entry of `optim.groups` is invalid, or matches no parameter that is still without a group. Only
            `match: "*"` without `ndim` may match nothing.
    """
    rest = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assigned: Assigned = []
    for group in (read_group(optim, index) for index in range(len(optim.groups))):
        taken = {name: rest.pop(name) for name in list(rest) if group.takes(name, rest[name])}
        if taken:
            assigned.append((group, list(taken.values())))
        elif not group.takes_all:
            what = f".match: {group.match!r}"
            if group.ndim:
                what = f": match {group.match!r} with ndim {' or '.join(map(str, group.ndim))}"
            left = ", ".join(f"{name} ({parameter.ndim}D)" for name, parameter in rest.items())
            raise ConfigError(f"{group.key}{what} matches none of the parameters {left or '(none are left)'}")
    if rest:
        assigned.append((ParamGroup("optim", "*", (), optim.name, {}), list(rest.values())))
    return assigned


def build_assigned(optim: Optim, assigned: Assigned) -> Optimizer:
    """Return the optimizer of all groups: a `Composite` if there are several optimizers, otherwise a plain one.

    Args:
        optim: the optimizer's config.
        assigned: the groups with their parameters.

    Raises:
        ConfigError: the optimizers cannot be combined, or one other than the main one cannot be built.
    """
    own = [{"params": params, **group.values} for group, params in assigned if group.optimizer == optim.name]
    if assigned and not own:
        names = ", ".join(dict.fromkeys(group.optimizer for group, _ in assigned))
        raise ConfigError(f"optim={optim.name}: has no parameters, as optim.groups leaves all of them to {names}")
    main: Optimizer = OPTIMIZERS.build(optim.name, optim.values, params=own)
    complete_momentum(main)
    if len(own) == len(assigned):
        return main
    check_combinable("optim.name", optim.name, main)
    optimizers, owners = [main], []
    for group, params in assigned:
        if group.optimizer == optim.name:
            owners.append(0)
        else:
            owners.append(len(optimizers))
            optimizers.append(build_other(group, params))
    combined = Composite(optimizers, owners)
    for made, (group, _) in zip(combined.param_groups, assigned, strict=True):
        made["optimizer"] = group.optimizer  # for the log
    return combined


def build_other(group: ParamGroup, params: list[nn.Parameter]) -> Optimizer:
    """Return the optimizer of a group that does not use the main one.

    Raises:
        ConfigError: it cannot be built from the values of the group, or cannot be combined.
    """
    try:
        optimizer: Optimizer = OPTIMIZERS.build(group.optimizer, group.values, params=[{"params": params}])
    except Exception as error:
        raise ConfigError(f"{group.key}: {error}{place(error)}") from error
    check_combinable(f"{group.key}.optimizer", group.optimizer, optimizer)
    complete_momentum(optimizer)
    return optimizer


def check_combinable(key: str, name: str, optimizer: Optimizer) -> None:
    """Check that an optimizer can be combined with others.

    Args:
        key: key of its name, for messages.
        name: its name.
        optimizer: the optimizer.

    Raises:
        ConfigError: it needs a closure, or its state dict is not that of `torch.optim.Optimizer`.
    """
    kind, reason = type(optimizer), None
    if needs_closure(optimizer):
        reason = "evaluates the loss several times per step"
    elif (kind.state_dict, kind.load_state_dict) != (Optimizer.state_dict, Optimizer.load_state_dict):
        reason = "has a state_dict or load_state_dict of its own"
    if reason:
        raise ConfigError(f"{key}: found {name!r}, which {reason} and cannot be combined with another optimizer")
