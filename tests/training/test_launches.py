"""Tests of the training step as a GPU would see it: it launches few kernels, and waits for the device only at a log."""

import pytest

from training.meta import TwoRanks, launches, launches_of_graph, launches_per_step, waits

SMALL = "dataset.size=28"
CROP_AND_FLIP = ("dataset.augment.crop=2", "dataset.augment.flip=true")


@pytest.mark.parametrize(
    ("overrides", "most"),
    [
        ([SMALL], 42),
        ([SMALL, *CROP_AND_FLIP], 50),
        ([SMALL, "dataset.augment.flip=alternating"], 50),
        ([SMALL, "trainer.ema=0.99"], 43),
        pytest.param(["model=torchvision"], 172, marks=pytest.mark.slow),
        pytest.param(["model=torchvision", "trainer.channels_last=true", *CROP_AND_FLIP], 178, marks=pytest.mark.slow),
        (["model=torchvision", "trainer.ema=0.99"], 180),
    ],
)
def test_step_launches_few_kernels(overrides: list[str], most: int) -> None:
    counts = launches_per_step(*overrides)
    assert sum(counts.values()) / 10 <= most, dict(counts)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["trainer.clip_norm=1"],
        ["trainer.accumulate=2"],
        ["dataset.augment.mixup=0.2"],
        ["dataset.augment.erase=0.5", "dataset.augment.shift=1"],
        ["optim=adamw", "scheduler=warmup_cosine"],
        ["trainer.precision=bf16", "trainer.ema=0.99"],
        ["trainer.precision=bf16", "trainer.clip_norm=1", *CROP_AND_FLIP],
        ["trainer.precision=fp16", "trainer.ema=0.99"],
        ["trainer.precision=fp16", "trainer.clip_norm=1", *CROP_AND_FLIP],
        ["trainer.precision=fp16", "optim=adamw"],
        ["model=mlp", "dataset=parabola", "loss=mse"],
    ],
    ids=lambda overrides: ",".join(overrides) or "default",
)
def test_step_without_a_log_waits_for_nothing(overrides: list[str]) -> None:
    assert launches(6, "trainer.log_every=1000", *overrides)  # a wait raises


@pytest.mark.parametrize(
    "overrides",
    [
        ["trainer.precision=fp32"],
        ["trainer.precision=bf16", "trainer.ema=0.99", *CROP_AND_FLIP],
        ["trainer.precision=fp16", "trainer.clip_norm=1"],
        ["loss.ignore_index=3", "optim=adamw"],
        ["dataset.augment.flip=alternating", "metrics=[]"],
    ],
    ids=lambda overrides: ",".join(overrides),
)
def test_step_for_a_graph_waits_for_nothing(overrides: list[str]) -> None:
    assert launches_of_graph(6, *overrides)  # a wait raises


@pytest.mark.parametrize("overrides", [[], ["trainer.accumulate=2"], ["trainer.clip_norm=1"]], ids=str)
def test_step_of_several_ranks_waits_for_nothing_and_each_log_once(overrides: list[str]) -> None:
    world = TwoRanks(size=2)
    assert launches(6, "trainer.log_every=1000", *overrides, world=world)  # a wait raises
    assert sum(waits(6, "trainer.log_every=2", *overrides, world=world).values()) == 3


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["trainer.clip_norm=1", "trainer.ema=0.99", *CROP_AND_FLIP],
        ["trainer.precision=bf16"],
        ["trainer.precision=fp16"],
        ["task=regression", "dataset=parabola", "model=mlp", "loss=mse", "metrics=[mae,r2]"],
    ],
    ids=lambda overrides: ",".join(overrides) or "default",
)
def test_each_log_waits_once(overrides: list[str]) -> None:
    assert sum(waits(6, "trainer.log_every=2", *overrides).values()) == 3
    with pytest.raises(RuntimeError, match="meta"):
        launches(2, "trainer.log_every=1", *overrides)
