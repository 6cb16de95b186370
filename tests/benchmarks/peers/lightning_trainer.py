"""Training with Lightning: TensorBoard, the best checkpoint and the default callbacks.

Usage: lightning_trainer.py lenet|cnn DATA
"""

import sys
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from common import EPOCHS, MODELS, RATE, Report
from pictures import TRAINING, loaders
from torch import Tensor
from torch.optim import SGD

# isort: split
# Lightning imports torchvision, so this comes after pictures.
import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger


class Classifier(L.LightningModule):  # type: ignore[misc]
    """A model with its loss, accuracy and optimizer."""

    def __init__(self, work: str) -> None:
        super().__init__()
        self.model, self.rate = MODELS[work](), RATE[work]

    def measure(self, batch: list[Tensor], stage: str) -> Tensor:
        """Log loss and accuracy of a batch and return the loss."""
        inputs, targets = batch
        logits = self.model(inputs)
        loss = F.cross_entropy(logits, targets)
        accuracy = (logits.argmax(1) == targets).float().mean()
        self.log_dict({f"{stage}_loss": loss, f"{stage}_accuracy": accuracy}, prog_bar=True)
        return loss

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.measure(batch, "train")

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.measure(batch, "val")

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.measure(batch, "test")

    def configure_optimizers(self) -> SGD:
        return SGD(self.parameters(), lr=self.rate, momentum=0.9)


class Reporting(L.Callback):  # type: ignore[misc]
    """Record the training in the report."""

    def __init__(self, report: Report, images: int) -> None:
        self.report, self.images = report, images

    def on_train_start(self, *_: Any) -> None:
        self.report.begin()

    def on_train_batch_end(self, *_: Any) -> None:
        self.report.step()

    def on_train_end(self, *_: Any) -> None:
        self.report.end(self.images)


def main(work: str, data: Path) -> None:
    report = Report()
    train, val, test = loaders(data)
    model = Classifier(work)
    trainer = L.Trainer(
        max_epochs=EPOCHS[work],
        logger=TensorBoardLogger("."),
        callbacks=[ModelCheckpoint(monitor="val_loss"), Reporting(report, EPOCHS[work] * TRAINING)],
    )
    trainer.fit(model, train, val)
    results = trainer.test(model, test)
    report.write(accuracy=results[0]["test_accuracy"])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
