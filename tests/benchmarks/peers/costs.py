"""Cost of logging a scalar and of saving a checkpoint for the default run, and of saving a ResNet-18."""

import statistics
import tempfile
import time
from copy import deepcopy
from pathlib import Path

import torch
from common import Report

from runner.config.compose import compose_config
from runner.machine.signals import Stop
from runner.machine.startup import speed_up
from runner.tracking.results import Results
from runner.tracking.tracker import Tracker
from runner.training.finite import are_finite
from runner.training.saving.checkpoint import Checkpoints
from runner.training.saving.resume import starting_state
from runner.training.saving.save import save
from runner.training.saving.saver import Saver
from runner.training.setup.build import build
from runner.training.trainer import Trainer
from runner.vision import torchvision

SCALARS, SAVES, LARGE_SAVES = 10_000, 60, 9


def measure(folder: Path) -> None:
    parts = build(compose_config(["device=cpu"]))
    for inputs, targets in parts.train.epoch():
        parts.loss(parts.model(inputs), targets).backward()
        parts.optimizer.step()
    report, state = Report(), starting_state(parts)
    tracker = Tracker(folder, parts, Results.open(folder, "bench", 0, []))
    report.begin()
    report.step()
    begun = time.perf_counter()
    for step in range(SCALARS):
        tracker.scalars({"train/loss": 1.0}, step)
    scalar = 1e6 * (time.perf_counter() - begun) / SCALARS
    (folder / "checkpoints").mkdir()
    trainer, seconds = Trainer(parts, state, tracker, Checkpoints(folder / "checkpoints", keep_last=2), Stop()), []
    for state.step in range(1, SAVES + 1):
        begun = time.perf_counter()
        save(trainer)
        trainer.saver.wait()
        seconds.append(time.perf_counter() - begun)
    trainer.saver.close()
    tracker.close()
    report.end(SAVES)
    report.write(scalar=scalar, save=statistics.median(seconds), still=stands_still(folder))


def stands_still(folder: Path) -> float:
    """Return the share of a save of a ResNet-18 with momentum, 90 MB, during which training stands still."""
    model = torchvision.models.resnet18(num_classes=10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    model(torch.randn(2, 3, 64, 64)).sum().backward()
    optimizer.step()
    saver, shares = Saver(Checkpoints(folder / "checkpoints", keep_last=2)), []
    for step in range(LARGE_SAVES):
        begun = time.perf_counter()
        assert are_finite([parameter.detach() for parameter in model.parameters()])
        contents = {"step": SAVES + step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
        saver.start(deepcopy(contents), best=True)
        still = time.perf_counter() - begun
        saver.wait()
        shares.append(still / (time.perf_counter() - begun))
    saver.close()
    return statistics.median(shares)


if __name__ == "__main__":
    speed_up()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder))
