"""Turn plain values into a typed config, and explain what is wrong with them."""

import json
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from runner.config.conflicts import conflicts
from runner.config.schema import Config
from runner.errors import ConfigError, advice, nearest


def parse(values: dict[str, Any]) -> Config:
    """Return plain values as a typed config.

    Raises:
        ConfigError: with one line for each key that is unknown or missing, has an invalid value, or cannot be combined
            with another one.
    """
    try:
        # Validated as JSON, in which a list is valid for a tuple, but "1" is not a number.
        config = Config.model_validate_json(json.dumps(values))
    except ValidationError as error:
        lines: dict[str, list[str]] = {}  # a key that allows several types has a reason for each of them
        ends: dict[str, str] = {}
        for item in error.errors():
            start, reason = _explain(item, values)
            lines.setdefault(start, []).append(reason)
            ends[start] = ends.get(start) or advice(start.partition(":")[0], item["input"], [item["type"]])
        raise ConfigError(*(f"{start}{' or '.join(lines[start])}{ends[start]}" for start in lines)) from error
    if problems := list(conflicts(config)):
        raise ConfigError(*problems)
    return config


def _explain(item: ErrorDetails, values: dict[str, Any]) -> tuple[str, str]:
    """Return an error of pydantic in two parts: the start of a line, with the key and the value, and the reason."""
    location, found = item["loc"], item["input"]
    if item["type"] == "missing":
        return f"{_dotted(location)}: ", "missing"
    if item["type"] == "extra_forbidden":
        model: Any = Config
        for part in location[:-1]:
            kind = model.model_fields[part].annotation
            model = next(iter(get_args(kind)), kind)  # such as Augment for `Augment | None`
        keys = [field.alias or key for key, field in model.model_fields.items()]
        return f"{_dotted(location)}: ", f"no such key; {nearest(str(location[-1]), keys)}"
    within: list[int | str] = []  # the location without the name of a type, which pydantic may append
    node: Any = values
    for part in location:
        if (isinstance(node, dict) and part in node) or (isinstance(node, list) and isinstance(part, int)):
            node = node[part]  # type: ignore[index]
            within.append(part)
    reason = item["msg"].removeprefix("Value error, ")
    return f"{_dotted(within)}: " + ("" if isinstance(found, dict) else f"found {found!r}; "), reason


def _dotted(location: Iterable[int | str]) -> str:
    return ".".join(map(str, location))
