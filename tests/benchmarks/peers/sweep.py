"""Hand-written sweep: import torch once, fork a process for each core, and train with each rate in a bare loop.

Usage: sweep.py EPOCHS RATE RATE ...
"""

import csv
import multiprocessing
import os
import sys
from pathlib import Path

import torch
from bare import correct
from common import Report
from digits import Digits
from torch import nn
from torch.optim import SGD

from runner.model.lenet import LeNet

FILE = Path("sweep.csv")
epochs, rates = int(sys.argv[1]), [float(rate) for rate in sys.argv[2:]]
digits = Digits()  # read before the fork, so that all processes share it


def train(rate: float) -> dict[str, float]:
    """Train LeNet on the digits, with validation after each epoch; return its row of the table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, loss, accuracy = LeNet((1, 32, 32), 10), nn.CrossEntropyLoss(), 0.0
    optimizer = SGD(model.parameters(), lr=rate, momentum=0.9)
    inputs, targets = digits.train
    for _ in range(epochs):
        for batch in torch.randperm(len(inputs)).split(32):
            optimizer.zero_grad()
            loss(model(inputs.index_select(0, batch)), targets.index_select(0, batch)).backward()
            optimizer.step()
        accuracy = correct(model, *digits.val)
    return {"rate": rate, "val": accuracy, "test": correct(model, *digits.test)}


if __name__ == "__main__":
    report = Report()
    report.begin()
    with multiprocessing.get_context("fork").Pool(len(os.sched_getaffinity(0))) as pool, FILE.open("w") as file:
        table = csv.DictWriter(file, ["rate", "val", "test"])
        table.writeheader()
        for row in pool.imap(train, rates):
            table.writerow(row)
            report.step()
    report.end(epochs * len(digits.train[0]) * len(rates))
    report.write()
