from collections.abc import Callable

import pytest

from runner.config.schema import Config
from runner.errors import ConfigError

Tiny = Callable[..., Config]
FAST = "device.deterministic=false"
ALLOWED = "allowed with it: false, true, default"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["device.cudnn_benchmark=true"],
            r"device\.cudnn_benchmark: found true with device\.deterministic=true; .*: null, false$",
        ),
        (
            ["trainer.compile=max-autotune"],
            rf"trainer\.compile: found 'max-autotune' with device\.deterministic=true; .*; {ALLOWED}, reduce-overhead$",
        ),
        (["trainer.compile=max-autotune-no-cudagraphs"], rf"'max-autotune-no-cudagraphs' .*; {ALLOWED}, reduce"),
        (
            ["trainer.compile=reduce-overhead", "trainer.accumulate=2"],
            rf"found 'reduce-overhead' with trainer\.accumulate=2; .*; {ALLOWED}, max-autotune-no-cudagraphs$",
        ),
        (["trainer.compile=max-autotune", "trainer.shards=4", FAST], r"found 'max-autotune' with trainer\.shards=4; "),
    ],
)
def test_settings_that_cannot_be_combined_are_refused_in_one_line(
    tiny: Tiny, overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        tiny(*overrides)
    assert len(error.value.problems) == 1


@pytest.mark.parametrize(
    "overrides",
    [
        ["device.cudnn_benchmark=false"],
        ["device.cudnn_benchmark=true", FAST],
        ["trainer.compile=max-autotune", FAST],
        ["trainer.compile=reduce-overhead"],
        ["trainer.compile=true", "trainer.accumulate=2", "trainer.shards=2"],
        ["trainer.compile=max-autotune-no-cudagraphs", "trainer.accumulate=2", FAST],
    ],
)
def test_settings_that_can_be_combined_are_allowed(tiny: Tiny, overrides: list[str]) -> None:
    tiny(*overrides)


def test_all_conflicts_are_reported_together(tiny: Tiny) -> None:
    with pytest.raises(ConfigError) as error:
        tiny("device.cudnn_benchmark=true", "trainer.compile=max-autotune", "trainer.accumulate=2")
    assert len(error.value.problems) == 3
