from collections.abc import Callable

import pytest

from runner.config.parse import parse
from runner.config.schema import Component, Config, flatten
from runner.errors import ConfigError

Tiny = Callable[..., Config]


@pytest.mark.parametrize(
    ("value", "period"),
    [
        ("1", (1, "epoch")),
        ("3", (3, "epoch")),
        ("'3'", (3, "epoch")),
        ("'2 epochs'", (2, "epoch")),
        ("'1 epoch'", (1, "epoch")),
        ("'200 steps'", (200, "step")),
        ("'1 step'", (1, "step")),
        ("200_steps", (200, "step")),
        ("200steps", (200, "step")),
    ],
)
def test_validation_period_is_in_epochs_or_steps(tiny: Tiny, value: str, period: tuple[int, str]) -> None:
    assert tiny(f"trainer.validate_every={value}").trainer.validation_period == period


@pytest.mark.parametrize("value", ["0", "-1", "'0 steps'", "1.5", "'5 minutes'", "steps", "''", "true", "null"])
def test_invalid_validation_period_is_rejected(tiny: Tiny, value: str) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.validate_every: found"):
        tiny(f"trainer.validate_every={value}")


@pytest.mark.parametrize(("accumulate", "batches", "steps"), [(1, 10, 10), (4, 8, 2), (4, 9, 3), (4, 3, 1), (10, 1, 1)])
def test_steps_per_epoch_are_rounded_up_with_accumulation(
    tiny: Tiny, accumulate: int, batches: int, steps: int
) -> None:
    assert tiny(f"trainer.accumulate={accumulate}").trainer.steps_per_epoch(batches) == steps


@pytest.mark.parametrize(
    ("epochs", "max_steps", "steps"), [("3", "null", 15), ("null", "7", 7), ("3", "7", 7), ("3", "100", 15)]
)
def test_run_ends_at_whichever_limit_is_reached_first(tiny: Tiny, epochs: str, max_steps: str, steps: int) -> None:
    trainer = tiny(f"trainer.epochs={epochs}", f"trainer.max_steps={max_steps}", "trainer.accumulate=2").trainer
    assert trainer.total_steps(batches=9) == steps


def test_run_without_a_limit_is_rejected(tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match=r"trainer: trainer.epochs or trainer.max_steps must be a number"):
        tiny("trainer.epochs=null")


@pytest.mark.parametrize("mode", [False, True, "default", "reduce-overhead"])
def test_compile_is_a_boolean_or_a_mode(tiny: Tiny, mode: bool | str) -> None:
    assert tiny(f"trainer.compile={mode}").trainer.compile == mode


def test_unknown_compile_mode_is_rejected_with_the_nearest_one(tiny: Tiny) -> None:
    with pytest.raises(
        ConfigError, match=r"trainer\.compile: found 'max-autotun'; allowed: .*Did you mean max-autotune\?"
    ):
        tiny("trainer.compile=max-autotun")


def test_component_values_exclude_the_shared_keys(tiny: Tiny) -> None:
    config = tiny("optim=sgd", "optim.lr=0.5")
    assert config.optim.name == "sgd"
    assert config.optim.values["lr"] == 0.5
    assert config.optim.values.keys().isdisjoint({"name", "groups"})
    assert "interval" not in config.scheduler.values
    assert "val_share" not in config.dataset.values
    assert Component(name="bare").values == {}


def test_zero_false_and_null_are_values(tiny: Tiny) -> None:
    config = tiny("seed=0", "dataset.fold=0", "dataset.folds=2", "dataset.in_memory=false", "trainer.ema=null")
    assert (config.seed, config.dataset.fold, config.dataset.in_memory, config.trainer.ema) == (0, 0, False, None)


def test_parse_inverts_model_dump(tiny: Tiny) -> None:
    config = tiny()
    assert parse(config.model_dump()) == config


def test_all_problems_are_reported_together(tiny: Tiny) -> None:
    values = tiny().model_dump()
    values["seed"] = "1"
    values["trainer"]["epoch"] = values["trainer"].pop("epochs")
    values["dataset"]["val_share"] = 1
    with pytest.raises(ConfigError) as caught:
        parse(values)
    share, seed, unknown, missing = sorted(caught.value.problems)
    assert share == "dataset.val_share: found 1; Input should be less than 1"
    assert seed.startswith("seed: found '1'; Input should be a valid integer: it is a string here; ")
    assert unknown.startswith("trainer.epoch: no such key; allowed: accumulate, ")
    assert unknown.endswith("Did you mean epochs?")
    assert missing == "trainer.epochs: missing"


def test_flatten_joins_nested_keys_with_dots() -> None:
    nested = {"seed": 0, "trainer": {"epochs": None, "checkpoint": {"keep_last": 2}}, "model": {"hidden": [1, 2]}}
    assert flatten(nested) == {
        "seed": 0,
        "trainer.epochs": None,
        "trainer.checkpoint.keep_last": 2,
        "model.hidden": [1, 2],
    }
