"""Minimal training loop: all data in memory, one index_select per batch, no logging, progress bar or checkpoints.

Usage: bare.py lenet|cnn|parabola|digits DATA
"""

import sys
from pathlib import Path

import torch
from common import BATCH, EPOCHS, EVAL_BATCH, MEAN, MODELS, RATE, STD, VALIDATION, Report, read
from torch import Tensor, nn
from torch.optim import SGD


def correct(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """Return the accuracy."""
    model.eval()
    with torch.no_grad():
        batches = zip(inputs.split(EVAL_BATCH), targets.split(EVAL_BATCH), strict=True)
        right = sum(int((model(x).argmax(1) == y).sum()) for x, y in batches)
    model.train()
    return right / len(targets)


def classify(work: str, data: Path) -> None:
    """Train the classifier of W1 or W2."""
    report = Report()
    images, targets = read(data, "train")
    inputs = (images.float() / 255 - MEAN) / STD
    test_images, test_targets = read(data, "t10k")
    test_inputs = (test_images.float() / 255 - MEAN) / STD
    order = torch.randperm(len(inputs))
    val, train = order[:VALIDATION], order[VALIDATION:]
    val_inputs, val_targets = inputs[val], targets[val]
    inputs, targets = inputs[train], targets[train]
    model, loss = MODELS[work](), nn.CrossEntropyLoss()
    optimizer = SGD(model.parameters(), lr=RATE[work], momentum=0.9)
    report.begin()
    for _ in range(EPOCHS[work]):
        for batch in torch.randperm(len(inputs)).split(BATCH):
            optimizer.zero_grad()
            loss(model(inputs.index_select(0, batch)), targets.index_select(0, batch)).backward()
            optimizer.step()
            report.step()
        correct(model, val_inputs, val_targets)
    report.end(EPOCHS[work] * len(inputs))
    report.write(accuracy=correct(model, test_inputs, test_targets))


def parabola(steps: int = 100_000) -> None:
    """Train the two sigmoid neurons of W3, with all ten points in every step."""
    report = Report()
    inputs = torch.linspace(0, 1, 10)[:, None]
    targets = inputs**2 - 0.5 * inputs + 1.5625
    model, loss = nn.Sequential(nn.Linear(1, 2), nn.Sigmoid(), nn.Linear(2, 1)), nn.L1Loss(reduction="sum")
    optimizer = SGD(model.parameters(), lr=0.001)
    report.begin()
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model(inputs), targets).backward()
        optimizer.step()
        report.step()
    report.end(steps)
    report.write()


def digits() -> None:
    """Train as the default run does, for W4 and W6: LeNet on the digits, 15 epochs, batches of 32."""
    from digits import Digits

    from runner.model.lenet import LeNet

    report, data = Report(), Digits()
    inputs, targets = data.train
    model, loss = LeNet((1, 32, 32), 10), nn.CrossEntropyLoss()
    optimizer = SGD(model.parameters(), lr=0.01, momentum=0.9)
    report.begin()
    for _ in range(15):
        for batch in torch.randperm(len(inputs)).split(32):
            optimizer.zero_grad()
            loss(model(inputs.index_select(0, batch)), targets.index_select(0, batch)).backward()
            optimizer.step()
            report.step()
        correct(model, *data.val)
    report.end(15 * len(inputs))
    report.write(accuracy=correct(model, *data.test))


if __name__ == "__main__":
    work, data = sys.argv[1], Path(sys.argv[2])
    if work == "parabola":
        parabola()
    elif work == "digits":
        digits()
    else:
        classify(work, data)
