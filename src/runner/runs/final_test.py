"""Evaluation of the best checkpoint on the test split, with plots, at the end of a run."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from runner.dataset.tree import map_tensors, tensors
from runner.machine.seeds import derive, seed_everything
from runner.runs.messages import details
from runner.tracking.events import logged
from runner.tracking.results import Results
from runner.tracking.tracker import Tracker
from runner.training.evaluate import predict
from runner.training.measuring.metrics import Metrics
from runner.training.parts import Parts
from runner.training.saving.checkpoint import load_checkpoint
from runner.training.trainer import Trainer

log = logging.getLogger("runner")
MOST_KEPT = 1 << 25  # values in the outputs and targets that are kept for the plots


def test_best(trainer: Trainer, tracker: Tracker, results: Results) -> None:
    """Evaluate the best checkpoint on the test split and draw the plots; return early when a stop is requested."""
    parts, checkpoints, step = trainer.parts, trainer.checkpoints, results.values["step"]
    best = checkpoints.best if checkpoints.best.exists() else checkpoints.last
    parts.load_weights(load_checkpoint(best, parts.device))
    if parts.world.is_sharded:  # so far, the random state depends on the world size
        seed_everything(derive(parts.config.seed, "test"))
    metrics, kept = Metrics(parts.metric_set, parts.device), Kept()
    for outputs, targets, loss, weight in predict(parts, parts.test):
        metrics.update(loss, weight, outputs, targets)
        kept.add(outputs, targets)
        if trainer.stop.requested:
            return
    test = metrics.compute()
    results.update(test=test)
    tracker.scalars({f"test/{name}": value for name, value in test.items()}, step)
    numbers = "  ".join(f"{name} {value:.4g}" for name, value in test.items())
    event = logged("test", checkpoint=f"checkpoints/{best.name}", **{f"test/{name}": test[name] for name in test})
    log.info("test     best checkpoint, of epoch %d: %s", trainer.state.best.epoch, numbers, extra=event)
    outputs, targets = kept.joined()
    targets = parts.task.compared(targets)
    for line in details(parts, trainer.state, outputs if kept.complete else None, targets):
        log.info(line)
    tracker.weights(step)
    try:
        draw(parts, outputs, targets, tracker.folder)
        tracker.pictures(step)
    except Exception:  # the run is complete even without plots
        log.warning("the plots could not be drawn", exc_info=True)


class Kept:
    """The outputs and targets of the test split, up to a number of values, for the plots."""

    def __init__(self) -> None:
        self.batches: list[tuple[Any, Any]] = []
        self.numbers, self.complete = 0, True

    def add(self, outputs: Any, targets: Any) -> None:
        """Keep a batch on the CPU, unless it would be too much."""
        numbers = sum(tensor.numel() for tensor in tensors((outputs, targets)))
        self.complete = self.complete and self.numbers + numbers <= MOST_KEPT
        if self.complete or not self.batches:
            self.batches.append(map_tensors(Tensor.cpu, (outputs, targets)))
            self.numbers += numbers

    def joined(self) -> tuple[Any, Any]:
        """Return the outputs and the targets as one batch; of batches that were padded to other lengths, the first."""
        shapes = {tuple(tensor.shape[1:] for tensor in tensors(batch)) for batch in self.batches}
        if len(shapes) > 1 or any(tensor.ndim == 0 for tensor in tensors(self.batches[0])):
            self.complete = False
            return self.batches[0]
        outputs, targets = map_tensors(lambda *each: torch.cat(each), *self.batches)
        return outputs, targets


def draw(parts: Parts, outputs: Any, targets: Any, folder: Path) -> None:
    """Draw the files in plots/ from the outputs and targets of the test split."""
    from runner.tracking.pictures import draw_pictures  # imported late, because it imports matplotlib, which is slow

    draw_pictures(parts, outputs, targets, folder)
