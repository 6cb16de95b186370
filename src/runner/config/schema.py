"""The types and ranges of all settings. Their values are only in `conf/`, so there are no defaults here."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from runner.errors import ConfigError, advice, nearest

Mode = Literal["min", "max"]
Count = Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """The base of all settings: every key is required, unknown keys are errors, and "1" is not a number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Component(Settings):
    """A component: its name, and the arguments of its constructor."""

    model_config = ConfigDict(extra="allow")
    name: str

    @property
    def values(self) -> dict[str, Any]:
        """The arguments of the constructor, as plain Python values."""
        return dict(self.model_extra or {})


class Optim(Component):
    groups: list[dict[str, Any]]


class Scheduler(Component):
    interval: Literal["step", "epoch"]


class Augment(Settings):
    """Random changes of training images, as `data.augment.Augment` describes them. A missing key changes nothing."""

    shift: Annotated[int, Field(ge=0)] = 0
    crop: Annotated[int, Field(ge=0)] = 0
    flip: bool = False
    erase: Annotated[float, Field(ge=0, le=1)] = 0.0


class Dataset(Component):
    """A dataset, with the keys that all datasets share."""

    seed: Annotated[int, Field(ge=0)]
    val_share: Annotated[float, Field(gt=0, lt=1)] | None
    test_share: Annotated[float, Field(gt=0, lt=1)] | None
    folds: Annotated[int, Field(ge=2)] | None
    fold: Annotated[int, Field(ge=0)] | None
    in_memory: bool
    workers: Annotated[int, Field(ge=0)]
    repeat: Count
    augment: Augment | None


class Device(Settings):
    name: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]
    threads: Annotated[int, Field(ge=1, le=4096)] | None
    deterministic: bool
    tf32: bool | None


PERIOD = re.compile(r"([1-9]\d*)(?:[ _]?(step|epoch)s?)?")


def _period(value: int | str) -> int | str:
    """Check the period of the validations, a number of epochs or steps."""
    if not PERIOD.fullmatch(str(value)):
        raise ValueError("should be a number of epochs, at least 1, or a string such as '200 steps'")
    return value


class EarlyStopping(Settings):
    metric: str
    mode: Mode
    patience: Count | None
    min_delta: Annotated[float, Field(ge=0)]


class Checkpoint(Settings):
    every_steps: Count | None
    every_epochs: Count | None
    every_minutes: Annotated[float, Field(gt=0)] | None
    keep_last: Count
    metric: str
    mode: Mode


class Trainer(Settings):
    epochs: Count | None
    max_steps: Count | None
    batch_size: Count
    eval_batch_size: Count
    accumulate: Count
    clip_norm: Annotated[float, Field(gt=0)] | None
    precision: Literal["fp32", "bf16", "fp16"]
    compile: bool
    cuda_graph: bool
    channels_last: bool | None
    ema: Annotated[float, Field(gt=0, lt=1)] | None
    profile: bool
    log_every: Count
    validate_every: Annotated[int | str, AfterValidator(_period)]
    early_stopping: EarlyStopping
    checkpoint: Checkpoint

    @property
    def validation_period(self) -> tuple[int, str]:
        """The number of epochs or steps between validations, and its unit: epoch or step."""
        period = PERIOD.fullmatch(str(self.validate_every))
        assert period is not None, "checked by _period"
        return int(period[1]), period[2] or "epoch"

    def steps_per_epoch(self, batches: int) -> int:
        """Return the number of optimizer updates in an epoch with this many batches."""
        return -(-batches // self.accumulate)

    def total_steps(self, batches: int) -> int:
        """Return the number of optimizer updates in a run with this many batches per epoch."""
        by_epochs = None if self.epochs is None else self.epochs * self.steps_per_epoch(batches)
        return min(limit for limit in (by_epochs, self.max_steps) if limit is not None)

    @model_validator(mode="after")
    def _ends(self) -> "Trainer":
        if self.epochs is None and self.max_steps is None:
            raise ValueError("trainer.epochs or trainer.max_steps must be a number, or the run never ends")
        return self


class Logger(Settings):
    name: Literal["tensorboard", "none"]


class Asha(Settings):
    min_epochs: Count | None
    reduction: Annotated[int, Field(ge=2)]


class Sweep(Settings):
    """Settings of a sweep; a single run ignores them."""

    jobs: Count | None
    on_error: Literal["continue", "stop"]
    retries: Annotated[int, Field(ge=0)]
    timeout: Annotated[float, Field(gt=0)] | None
    zip: bool
    file: str | None
    asha: Asha


class Config(Settings):
    """The config of a run."""

    seed: Annotated[int, Field(ge=0)]
    name: Annotated[str, Field(min_length=1, strict=False, coerce_numbers_to_str=True)]  # name=3 too
    output_dir: Annotated[str, Field(min_length=1)]
    dry_run: bool
    plugins: list[str]
    model: Component
    loss: Component
    optim: Optim
    scheduler: Scheduler
    dataset: Dataset
    device: Device
    trainer: Trainer
    logger: Logger
    sweep: Sweep


def parse(values: dict[str, Any]) -> Config:
    """Return plain values as a typed config.

    Raises:
        ConfigError: with one line for each key that is unknown or missing, or has an invalid value.
    """
    try:
        # Validated as JSON, in which a list is valid for a tuple, but "1" is not a number.
        return Config.model_validate_json(json.dumps(values))
    except ValidationError as error:
        lines: dict[str, list[str]] = {}  # a key that allows several types has a reason for each of them
        ends: dict[str, str] = {}
        for item in error.errors():
            start, reason = _explain(item, values)
            lines.setdefault(start, []).append(reason)
            ends[start] = ends.get(start) or advice(start.partition(":")[0], item["input"], [item["type"]])
        raise ConfigError(*(f"{start}{' or '.join(lines[start])}{ends[start]}" for start in lines)) from error


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
        return f"{_dotted(location)}: ", f"no such key; {nearest(str(location[-1]), model.model_fields)}"
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


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values as a flat dict with dotted keys, such as optim.lr."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
