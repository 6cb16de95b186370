"""Training loop of PyTorch's tutorials, without logging, progress bar or checkpoints.

Usage: tutorial.py lenet|cnn DATA [WORKERS]
"""

import sys
from pathlib import Path
from typing import Any

import torch
from common import EPOCHS, MODELS, RATE, Report
from pictures import TRAINING, loaders
from torch import nn
from torch.optim import SGD
from torch.utils.data import DataLoader


def train_loop(loader: DataLoader[Any], model: nn.Module, loss_fn: nn.Module, optimizer: SGD, report: Report) -> None:
    """Train for one epoch."""
    model.train()
    for inputs, targets in loader:
        loss = loss_fn(model(inputs), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        report.step()


def test_loop(loader: DataLoader[Any], model: nn.Module, loss_fn: nn.Module) -> tuple[float, float]:
    """Return the mean batch loss and the accuracy."""
    model.eval()
    loss, correct, samples = 0.0, 0.0, 0
    with torch.no_grad():
        for inputs, targets in loader:
            logits = model(inputs)
            loss += loss_fn(logits, targets).item()
            correct += (logits.argmax(1) == targets).float().sum().item()
            samples += len(targets)
    return loss / len(loader), correct / samples


def main(work: str, data: Path, workers: int = 0) -> None:
    report = Report()
    train, val, test = loaders(data, workers)
    model, loss_fn = MODELS[work](), nn.CrossEntropyLoss()
    optimizer = SGD(model.parameters(), lr=RATE[work], momentum=0.9)
    report.begin()
    for _ in range(EPOCHS[work]):
        train_loop(train, model, loss_fn, optimizer, report)
        test_loop(val, model, loss_fn)
    report.end(EPOCHS[work] * TRAINING)
    _, accuracy = test_loop(test, model, loss_fn)
    report.write(accuracy=accuracy)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
