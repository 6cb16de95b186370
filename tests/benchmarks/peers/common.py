"""Shared by all scripts: models, sizes and the report of the measurements."""

import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

BATCH, EVAL_BATCH, VALIDATION = 64, 512, 6_000
EPOCHS = {"lenet": 2, "cnn": 1}
RATE = {"lenet": 0.01, "cnn": 0.025}  # learning rate of SGD with momentum 0.9
MEAN, STD = 0.1307, 0.3081
CHANCE = 10


def lenet() -> nn.Module:
    """Return LeNet-5 for 28x28 images."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, CHANCE),
    )  # fmt: skip


def cnn() -> nn.Module:
    """Return the network of PyTorch's MNIST example, without its log-softmax."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
        nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, CHANCE),
    )  # fmt: skip


MODELS = {"lenet": lenet, "cnn": cnn}


def read(data: Path, part: str) -> tuple[Tensor, Tensor]:
    """Read images [N, 1, 28, 28], uint8, and classes [N] from MNIST's files; `part` is train or t10k."""
    raw = data / "MNIST" / "raw"
    images = np.fromfile(raw / f"{part}-images-idx3-ubyte", dtype=np.uint8)[16:]
    labels = np.fromfile(raw / f"{part}-labels-idx1-ubyte", dtype=np.uint8)[8:]
    return torch.from_numpy(images).view(-1, 1, 28, 28), torch.from_numpy(labels).long()


class Report:
    """The time of the first step, and the training images per second, validation included."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self.begun = 0.0

    def begin(self) -> None:
        """Mark the start of training."""
        self.begun = time.perf_counter()

    def step(self) -> None:
        """Mark the end of a step."""
        if "first_step" not in self.values:
            self.values["first_step"] = time.time()

    def end(self, images: int) -> None:
        """Mark the end of training; `images` counts each image once per epoch."""
        self.values["per_second"] = images / (time.perf_counter() - self.begun)

    def write(self, **more: float) -> None:
        """Print the measurements as one line of JSON."""
        print(json.dumps(self.values | more), flush=True)
