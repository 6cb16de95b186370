import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from runner.config.schema import Config
from runner.errors import Diverged
from runner.machine.signals import Stop
from runner.tracking.tracker import NullTracker
from runner.training.finite import Watch, are_finite
from runner.training.loop import fit, train_epoch
from runner.training.saving.checkpoint import Checkpoints
from runner.training.saving.resume import starting_state
from runner.training.setup.build import build
from runner.training.trainer import Trainer


@pytest.fixture
def watched(tiny: Callable[..., Config], tmp_path: Path) -> Callable[..., Trainer]:
    """Return a function that returns a run on the CPU that checks for non-finite values as on an accelerator."""

    def make(*overrides: str) -> Trainer:
        parts = build(tiny("trainer.batch_size=64", "logger=none", *overrides))
        trainer = Trainer(parts, starting_state(parts), NullTracker(), Checkpoints(tmp_path, 1), Stop())
        trainer.watch = Watch(parts.device)
        trainer.watch.skip_updates_of(parts.optimizer)
        return trainer

    return make


def spoil(trainer: Trainer, at: int, what: str = "loss", value: float = math.nan) -> None:
    """Make the loss or the gradient of a step non-finite."""
    task = trainer.parts.task
    original = task.loss

    def loss(*arguments: Any) -> Tensor:
        found = original(*arguments)
        if trainer.state.step + 1 != at:
            return found
        if what == "loss":
            return found * value
        found.register_hook(lambda grad: grad * value)
        return found

    cast(Any, task).loss = loss


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_single_non_finite_value_in_a_gradient_is_detected(bad: float) -> None:
    gradients = [torch.full((3,), 1e30), torch.ones(1), torch.ones(1000)]  # finite, but the square of 1e30 is not
    assert are_finite(gradients)
    gradients[2][700] = bad
    assert not are_finite(gradients)
    gradients[2][700] = 1
    assert are_finite(gradients)
    assert are_finite([torch.tensor([1j])])
    assert not are_finite([torch.tensor([1j, complex(0, bad)])])


@pytest.mark.parametrize(
    ("what", "message"), [("loss", "step 3: the loss is nan"), ("gradient", "step 3: the gradient is not finite")]
)
def test_accelerator_stops_at_the_next_log_and_names_the_step(
    watched: Callable[..., Trainer], what: str, message: str
) -> None:
    trainer = watched("trainer.log_every=5")
    spoil(trainer, at=3, what=what)
    with pytest.raises(Diverged, match=message):
        train_epoch(trainer)
    assert trainer.state.step == 5


@pytest.mark.parametrize("optim", ["sgd", "adamw", "adam", "adagrad"])
def test_accelerator_skips_the_updates_from_the_first_bad_step_on(watched: Callable[..., Trainer], optim: str) -> None:
    settings = (f"optim={optim}", "trainer.log_every=6", "optim.fused=true")
    trainer, shorter = watched(*settings), watched(*settings, "trainer.max_steps=2")
    spoil(trainer, at=3)
    train_epoch(shorter)
    with pytest.raises(Diverged):
        train_epoch(trainer)
    assert trainer.state.step == 6
    for own, its in zip(trainer.parameters, shorter.parameters, strict=True):
        assert torch.equal(own, its)


def test_optimizer_with_a_group_that_is_not_fused_does_not_skip(watched: Callable[..., Trainer]) -> None:
    trainer = watched("trainer.log_every=5", "optim.groups=[{match: '*.bias', fused: false}]")
    spoil(trainer, at=3)
    with pytest.raises(Diverged, match="step 3: the loss is nan"):
        train_epoch(trainer)


def test_accelerator_stops_before_the_end_of_an_epoch_without_a_log(watched: Callable[..., Trainer]) -> None:
    trainer = watched("trainer.log_every=1000", "trainer.epochs=3")
    spoil(trainer, at=7)
    with pytest.raises(Diverged, match="step 7: the loss is nan"):
        fit(trainer)
    assert (trainer.state.step, trainer.state.validated) == (trainer.parts.steps_per_epoch, 0)


def test_accelerator_stops_instead_of_saving(watched: Callable[..., Trainer], tmp_path: Path) -> None:
    trainer = watched("trainer.log_every=1000", "trainer.checkpoint.every_steps=4", "optim=rmsprop")
    spoil(trainer, at=6)
    with pytest.raises(Diverged, match=r"step 6: the loss is nan\nlast good checkpoint: .*last.pt"):
        fit(trainer)
    assert trainer.state.step == 8
    saved, _ = Checkpoints(tmp_path, 1).load_newest("cpu")
    assert saved is not None
    assert saved["step"] == 4
    assert all(value.isfinite().all() for value in saved["model"].values())


def test_losses_do_not_pile_up_between_logs(watched: Callable[..., Trainer]) -> None:
    trainer = watched("trainer.log_every=1000", "trainer.epochs=3")
    fit(trainer)
    assert not trainer.losses


def test_accelerator_does_not_save_skipped_steps_when_a_signal_stops_the_run(
    watched: Callable[..., Trainer], tmp_path: Path
) -> None:
    trainer = watched("trainer.log_every=1000")
    spoil(trainer, at=3)
    trainer.tracker.progress = lambda step: setattr(trainer.stop, "received", signal.SIGTERM if step == 4 else None)  # type: ignore[method-assign]
    with pytest.raises(Diverged, match="step 3: the loss is nan"):
        fit(trainer)
    assert trainer.state.step == 4
    assert not list(tmp_path.iterdir())
