"""The types and ranges of all settings. Their values are only in `conf/`, so there are no defaults here."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from runner.config.monitored import Monitored
from runner.errors import nearest

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


def _listed(values: Any) -> Any:
    """Return a list of components with each name as a mapping: accuracy is short for {name: accuracy}."""
    return (
        [{"name": each} if isinstance(each, str) else each for each in values] if isinstance(values, list) else values
    )


Components = Annotated[list[Component], BeforeValidator(_listed)]


class Optim(Component):
    groups: list[dict[str, Any]]


class Scheduler(Component):
    interval: Literal["step", "epoch"]


class Augment(Settings):
    """Random transforms of training images, see `data.augment` and `data.mix`. A missing key changes nothing."""

    shift: Annotated[int, Field(ge=0)] = 0
    crop: Annotated[int, Field(ge=0)] = 0
    flip: bool | Literal["alternating"] = False
    erase: Annotated[float, Field(ge=0, le=1)] = 0.0
    pad: Literal["zero", "reflect"] = "zero"
    mixup: Annotated[float, Field(ge=0)] = 0.0
    cutmix: Annotated[float, Field(ge=0)] = 0.0


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
    transforms: Components


class Device(Settings):
    name: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]
    threads: Annotated[int, Field(ge=1, le=4096)] | None
    deterministic: bool
    cudnn_benchmark: bool | None
    tf32: bool | None
    timeout: Annotated[float, Field(gt=0)]


COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")  # of torch.compile
PERIOD = re.compile(r"([1-9]\d*)(?:[ _]?(step|epoch)s?)?")


def _period(value: int | str) -> int | str:
    """Check the period of the validations, a number of epochs or steps."""
    if not PERIOD.fullmatch(str(value)):
        raise ValueError("should be a number of epochs, at least 1, or a string such as '200 steps'")
    return value


def _power_of_two(value: int) -> int:
    if value < 1 or value.bit_count() != 1:
        raise ValueError("should be a power of two: 1, 2, 4, ...")
    return value


def _compile_mode(value: bool | str) -> bool | str:
    if isinstance(value, str) and value not in COMPILE_MODES:
        raise ValueError(nearest(value, ("false", "true", *COMPILE_MODES)))
    return value


class EarlyStopping(Settings, Monitored):
    patience: Count | None
    min_delta: Annotated[float, Field(ge=0)]


class Checkpoint(Settings, Monitored):
    every_steps: Count | None
    every_epochs: Count | None
    every_minutes: Annotated[float, Field(gt=0)] | None
    keep_last: Count


class Trainer(Settings):
    epochs: Count | None
    max_steps: Count | None
    max_minutes: Annotated[float, Field(gt=0)] | None
    batch_size: Count
    eval_batch_size: Count
    accumulate: Count
    shards: Annotated[int, AfterValidator(_power_of_two)]
    clip_norm: Annotated[float, Field(gt=0)] | None
    precision: Literal["fp32", "bf16", "fp16"]
    compile: Annotated[bool | str, AfterValidator(_compile_mode)]
    cuda_graph: bool
    channels_last: bool | None
    ema: Annotated[float, Field(gt=0, lt=1)] | None
    tta: Literal["flip"] | None
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
            raise ValueError("trainer.epochs or trainer.max_steps must be a number: schedules need a length")
        return self


def _absolute(source: str) -> str:
    """Return the path of a file or folder as an absolute path, so that a resume elsewhere finds it too."""
    return source if source.startswith("torchvision:") else str(Path(source).expanduser().absolute())


class Init(Settings):
    """The weights that a run starts from, and the parameters that it does not train."""

    model_config = ConfigDict(serialize_by_alias=True)
    source: Annotated[str, Field(min_length=1), AfterValidator(_absolute)] | None = Field(alias="from")
    match: list[str]
    freeze: list[str]


class Logger(Settings):
    name: Literal["tensorboard", "none"]


class Asha(Settings):
    min_epochs: Count | None
    reduction: Annotated[int, Field(ge=2)]


class Race(Settings):
    max_seeds: Annotated[int, Field(ge=4)] | None
    alpha: Annotated[float, Field(gt=0, lt=1)]


class Sweep(Settings):
    """Settings of a sweep; a single run ignores them."""

    jobs: Count | None
    on_error: Literal["continue", "stop"]
    retries: Annotated[int, Field(ge=0)]
    timeout: Annotated[float, Field(gt=0)] | None
    processes: Count
    zip: bool
    file: str | None
    asha: Asha
    race: Race

    @model_validator(mode="after")
    def _races_whole_runs(self) -> "Sweep":
        if self.race.max_seeds is not None and self.asha.min_epochs is not None:
            raise ValueError(
                "a race compares whole runs, but ASHA shortens some: set race.max_seeds or asha.min_epochs to null"
            )
        return self


class Config(Settings):
    """The config of a run."""

    seed: Annotated[int, Field(ge=0)]
    name: Annotated[str, Field(min_length=1, strict=False, coerce_numbers_to_str=True)]  # name=3 too
    output_dir: Annotated[str, Field(min_length=1)]
    dry_run: bool
    plugins: list[str]
    init: Init
    model: Component
    loss: Component
    optim: Optim
    scheduler: Scheduler
    dataset: Dataset
    task: Component
    metrics: Components | None
    device: Device
    trainer: Trainer
    logger: Logger
    sweep: Sweep


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values as a flat dict with dotted keys, such as optim.lr."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
