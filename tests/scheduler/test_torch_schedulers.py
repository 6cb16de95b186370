"""Tests of the torch schedulers: learning rates, incompatible settings, and exact resume."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, lr_scheduler

from helpers import checkpoint, equal, learning_rates, metrics_table, results, scalars
from runner import cli
from runner.config.schema import Config
from runner.errors import ConfigError
from runner.registry import SCHEDULERS
from runner.tracking.tracker import Tracker
from runner.training.checks.check import check
from runner.training.setup.optimizer import build_scheduler


def built(name: str, values: dict[str, Any], steps: int) -> list[float]:
    optimizer = SGD([nn.Parameter(torch.ones(1))], lr=1.0, momentum=0.9)
    scheduler = SCHEDULERS.build(name, values, optimizer=optimizer, total_steps=steps, last_epoch=-1)
    return learning_rates(optimizer, scheduler, steps)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("step", lr_scheduler.StepLR),
        ("exponential", lr_scheduler.ExponentialLR),
        ("one_cycle", lr_scheduler.OneCycleLR),
        ("plateau", lr_scheduler.ReduceLROnPlateau),
    ],
)
def test_is_torch_class(name: str, kind: type) -> None:
    assert SCHEDULERS.get(name).component is kind


def test_step_and_multistep_decay_at_their_milestones() -> None:
    assert built("step", {"step_size": 2, "gamma": 0.5}, 5) == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert built("multistep", {"milestones": [1, 4], "gamma": 0.5}, 5) == [1, 0.5, 0.5, 0.5, 0.25, 0.25]


@pytest.mark.parametrize("milestones", [[3, 2], [2, 2], [0, 1]])
def test_invalid_milestones_raise(milestones: list[int]) -> None:
    with pytest.raises(ValueError, match="milestones must be increasing and at least 1"):
        built("multistep", {"milestones": milestones}, 5)


def test_exponential_decays_at_each_step() -> None:
    assert built("exponential", {"gamma": 0.5}, 3) == [1, 0.5, 0.25, 0.125]


def test_one_cycle_spans_the_run() -> None:
    found = built("one_cycle", {"max_lr": 2.0, "div_factor": 10.0, "final_div_factor": 100.0, "pct_start": 0.5}, 10)
    assert found[0] == pytest.approx(0.2)
    assert max(found) == found[4] == 2.0
    assert found[9] == pytest.approx(0.002)  # learning rate of the last of ten steps
    hidden = {"total_steps", "epochs", "steps_per_epoch", "last_epoch", "optimizer"}
    assert hidden.isdisjoint(SCHEDULERS.parameters("one_cycle"))


def test_plateau_mode_is_the_checkpoint_mode(tiny: Callable[..., Config]) -> None:
    assert "mode" not in SCHEDULERS.parameters("plateau")
    for mode in ("min", "max"):
        config = tiny("scheduler=plateau", f"trainer.checkpoint.mode={mode}")
        scheduler: Any = build_scheduler(config, SGD([nn.Parameter(torch.ones(1))], lr=1.0), 9)
        assert scheduler.mode == mode


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (
            ["scheduler=plateau", "scheduler.interval=step"],
            "scheduler.interval: found 'step'; plateau is stepped after each",
        ),
        (["scheduler=plateau", "scheduler.factor=2.0"], "scheduler.factor: found 2.0: Factor should be < 1.0"),
        (["scheduler=one_cycle", "optim=adagrad"], "scheduler=one_cycle: optimizer must support momentum or beta1"),
        (["scheduler=multistep", "scheduler.milestones=[3,2]"], "milestones must be increasing and at least 1"),
        (["scheduler=warmup_cosine", "scheduler.warmup=1.0"], "scheduler.warmup: found 1.0: warmup is a fraction"),
    ],
)
def test_incompatible_settings_raise(tiny: Callable[..., Config], overrides: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        check(tiny(*overrides))


RESUMED = {
    "step": ["scheduler=step", "scheduler.step_size=1"],
    "multistep": ["scheduler=multistep", "scheduler.milestones=[1,2]"],
    "exponential": [
        "scheduler=exponential",
        "scheduler.interval=step",
        "optim=lbfgs",
        "optim.lr=0.1",
        "optim.max_iter=3",
    ],
    "one_cycle": ["scheduler=one_cycle", "optim=adamw"],
    "warmup_cosine": ["scheduler=warmup_cosine", "optim=gradient_descent", "scheduler.warmup=0.2"],
    "plateau": ["scheduler=plateau", "scheduler.patience=1", "optim.lr=1e-6", "trainer.checkpoint.mode=max"],
}


@pytest.mark.parametrize("name", RESUMED)
def test_resumed_run_equals_uninterrupted_run(
    runner: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    overrides = [*RESUMED[name], "trainer.epochs=4", "trainer.validate_every='4 steps'", "model.dropout=0.2"]
    whole = runner(*overrides)
    progress = Tracker.progress

    def and_stop(self: Tracker, now: int) -> None:
        progress(self, now)
        if now == 9:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Tracker, "progress", and_stop)
        stopped = runner(*overrides, code=143)
    assert results(stopped)["step"] == 9
    assert cli.main(["resume", str(stopped)]) == 0
    assert equal(checkpoint(stopped), checkpoint(whole))
    assert metrics_table(stopped) == metrics_table(whole)
    assert scalars(stopped) == scalars(whole)
    assert len({row.split(",")[-1] for row in metrics_table(whole)[1:]}) > 1  # the learning rate changed
