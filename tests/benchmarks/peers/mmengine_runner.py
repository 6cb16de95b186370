"""Training with MMEngine: TensorBoard, a checkpoint per epoch and the default hooks.

Usage: mmengine_runner.py lenet|cnn DATA
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from common import EPOCHS, MODELS, RATE, Report
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from pictures import TRAINING, loaders
from torch import Tensor, nn
from torch.optim import SGD


class Classifier(BaseModel):  # type: ignore[misc]
    """A model with its loss."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, targets: Tensor, mode: str) -> dict[str, Tensor] | tuple[Tensor, Tensor]:
        logits = self.model(inputs)
        if mode == "loss":
            return {"loss": F.cross_entropy(logits, targets)}
        return logits, targets


class Accuracy(BaseMetric):  # type: ignore[misc]
    """Classification accuracy."""

    def process(self, data_batch: Any, data_samples: Sequence[Tensor]) -> None:
        logits, targets = data_samples
        self.results.append({"samples": len(targets), "correct": (logits.argmax(1) == targets).sum().item()})

    def compute_metrics(self, results: list[dict[str, float]]) -> dict[str, float]:
        return {"accuracy": sum(batch["correct"] for batch in results) / sum(batch["samples"] for batch in results)}


class Reporting(Hook):  # type: ignore[misc]
    """Record the training in the report."""

    def __init__(self, report: Report, images: int) -> None:
        self.report, self.images = report, images

    def before_train(self, runner: Runner) -> None:
        self.report.begin()

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        self.report.step()

    def after_train(self, runner: Runner) -> None:
        self.report.end(self.images)


def main(work: str, data: Path) -> None:
    report = Report()
    train, val, test = loaders(data)
    runner = Runner(
        model=Classifier(MODELS[work]()),
        work_dir="mmengine",
        train_dataloader=train,
        train_cfg={"by_epoch": True, "max_epochs": EPOCHS[work], "val_interval": 1},
        optim_wrapper={"optimizer": {"type": SGD, "lr": RATE[work], "momentum": 0.9}},
        val_dataloader=val,
        val_cfg={},
        val_evaluator={"type": Accuracy},
        test_dataloader=test,
        test_cfg={},
        test_evaluator={"type": Accuracy},
        default_hooks={"logger": {"type": "LoggerHook"}, "checkpoint": {"type": "CheckpointHook", "interval": 1}},
        visualizer={"type": "Visualizer", "vis_backends": [{"type": "TensorboardVisBackend"}]},
        custom_hooks=[Reporting(report, EPOCHS[work] * TRAINING)],
    )
    runner.training.loop()
    report.write(accuracy=runner.test()["accuracy"])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
