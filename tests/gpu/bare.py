"""A bare training loop, eager and as one CUDA graph: all images on the device, no metrics, no logs, no checkpoints."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import SGD

from gpu.airbench import crop_and_flip
from gpu.graphs import capture
from gpu.meter import Meter
from gpu.section import Row
from gpu.works import LR, MOMENTUM, PAD, Work


class Bare:
    """One training step, and what it needs.

    Args:
        work: network and data.
        root: folder of the data.
        device: cuda or cpu.
    """

    def __init__(self, work: Work, root: Path, device: str) -> None:
        torch.backends.cudnn.benchmark = True  # as in the runner without device.deterministic
        images, targets = work.images(root)
        self.inputs, self.targets = images.to(device), targets.to(device)
        self.model, self.loss = work.model().to(device), nn.CrossEntropyLoss()
        self.optimizer = SGD(self.model.parameters(), lr=LR, momentum=MOMENTUM)
        self.work, self.device = work, device
        self.steps = len(self.targets) // work.batch  # per epoch, without the last, smaller batch

    def step(self, batch: Tensor) -> Tensor:
        """Train on the images with the given indices, and return the loss."""
        inputs = self.inputs.index_select(0, batch)
        if self.work.augments:
            padded = nn.functional.pad(inputs, (PAD, PAD, PAD, PAD), mode="reflect")
            inputs = crop_and_flip(padded, self.inputs.shape[-1])
        self.optimizer.zero_grad()
        # A captured step must not reuse the casts of the weights in an earlier one.
        with torch.autocast(self.device, torch.bfloat16, self.work.precision == "bf16", cache_enabled=False):
            loss: Tensor = self.loss(self.model(inputs), self.targets.index_select(0, batch))
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def eager(work: Work, root: Path, device: str) -> Row:
    """Train with one launch for each operator."""
    bare, meter = Bare(work, root, device), Meter(device, work.length, work.batch)
    while True:
        order = torch.randperm(len(bare.targets), device=device)
        for batch in order.split(work.batch)[: bare.steps]:
            bare.step(batch)
            if meter.step():
                return meter.row()


def graphed(work: Work, root: Path, device: str) -> Row:
    """Train with the whole step as one CUDA graph: the choice of the images, the model, the loss and the optimizer."""
    bare, meter = Bare(work, root, device), Meter(device, work.length, work.batch)
    order = torch.randperm(len(bare.targets), device=device)
    offsets = torch.arange(work.batch, device=device)
    position = torch.zeros((), dtype=torch.int64, device=device)
    total = torch.zeros((), device=device)

    def step() -> None:
        total.add_(bare.step(order.index_select(0, position + offsets)))
        position.add_(work.batch)

    replay = capture(step, device)
    while True:
        order.copy_(torch.randperm(len(order), device=device))
        position.zero_()
        for _ in range(bare.steps):
            replay()
            if meter.step():
                return meter.row()
