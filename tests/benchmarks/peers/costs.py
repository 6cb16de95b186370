"""Cost of logging a scalar and of saving a checkpoint, for the default run with TensorBoard."""

import statistics
import tempfile
import time
from pathlib import Path

from common import Report

from runner.config.compose import compose_config
from runner.machine.signals import Stop
from runner.tracking.results import Results
from runner.tracking.tracker import Tracker
from runner.training.build import build
from runner.training.checkpoint import Checkpoints
from runner.training.resume import starting_state
from runner.training.saving import save
from runner.training.trainer import Trainer

SCALARS, SAVES = 10_000, 60


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
        seconds.append(time.perf_counter() - begun)
    tracker.close()
    report.end(SAVES)
    report.write(scalar=scalar, save=statistics.median(seconds))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder))
