"""Evaluation of the best checkpoint on the test split, with plots, at the end of a run."""

import logging
from pathlib import Path

import torch
from torch import Tensor

from runner.runs.messages import details
from runner.tracking.results import Results
from runner.tracking.tracker import Tracker
from runner.training.checkpoint import load_checkpoint
from runner.training.evaluate import predict
from runner.training.metrics import Metrics
from runner.training.parts import Parts
from runner.training.trainer import Trainer

log = logging.getLogger("runner")


def test_best(trainer: Trainer, tracker: Tracker, results: Results) -> None:
    """Evaluate the best checkpoint on the test split and draw the plots; return early when a stop is requested."""
    parts, checkpoints, step = trainer.parts, trainer.checkpoints, results.values["step"]
    best = checkpoints.best if checkpoints.best.exists() else checkpoints.last
    parts.load_weights(load_checkpoint(best, parts.device))
    metrics, batches = Metrics(parts.spec.task, parts.device), []
    for outputs, targets, loss in predict(parts, parts.test):
        metrics.update(loss, outputs, targets)
        batches.append((outputs.cpu(), targets.cpu()))
        if trainer.stop.requested:
            return
    test = metrics.compute()
    results.update(test=test)
    tracker.scalars({f"test/{name}": value for name, value in test.items()}, step)
    numbers = "  ".join(f"{name} {value:.4g}" for name, value in test.items())
    log.info("test     best checkpoint, of epoch %d: %s", trainer.state.best.epoch, numbers)
    all_outputs, all_targets = (torch.cat(tensors) for tensors in zip(*batches, strict=True))
    for line in details(parts, trainer.state, all_outputs, all_targets):
        log.info(line)
    tracker.weights(step)
    try:
        draw(parts, all_outputs, all_targets, tracker.folder)
        tracker.pictures(step)
    except Exception:  # the run is complete even without plots
        log.warning("the plots could not be drawn", exc_info=True)


def draw(parts: Parts, outputs: Tensor, targets: Tensor, folder: Path) -> None:
    """Draw the files in plots/ from the outputs and targets of the test split."""
    from runner.tracking.pictures import draw_pictures  # imported late, because it imports matplotlib, which is slow

    draw_pictures(parts, outputs, targets, folder)
