"""A training loop as speed records are set with: nothing is done in a step that can be done once, or once an epoch.

Images are on the device in half precision and channels last, normalized and padded once. An epoch begins with one
permutation on the device and the augmentation of all images; a batch is `images[indices]`. Nothing is read before the
end of an epoch.

Source:
    Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU"; https://github.com/KellerJordan/cifar10-airbench.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import SGD

from gpu.meter import Meter
from gpu.section import Row
from gpu.works import LR, MOMENTUM, PAD, Work


def crop_and_flip(padded: Tensor, size: int) -> Tensor:
    """Return a random crop of each image, every other one mirrored.

    Args:
        padded: images [N, C, H, W].
        size: height and width of the crops.

    Returns:
        Images [N, C, size, size], channels last.
    """
    samples, device = len(padded), padded.device
    ahead = torch.arange(size, device=device)
    room = [side - size + 1 for side in padded.shape[-2:]]
    rows, columns = (torch.randint(each, (samples, 1), device=device) + ahead for each in room)
    columns = torch.where(torch.rand(samples, 1, device=device) < 0.5, columns.flip(1), columns)
    each = torch.arange(samples, device=device)[:, None, None]
    return padded[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def eager(work: Work, root: Path, device: str) -> Row:
    """Train with one launch for each operator."""
    return train(work, root, device, compiles=False)


def compiled(work: Work, root: Path, device: str) -> Row:
    """Train with a model that torch.compile has optimized, with CUDA graphs of its forward and backward passes."""
    return train(work, root, device, compiles=True)


def train(work: Work, root: Path, device: str, compiles: bool) -> Row:
    """Train, and return the measurements."""
    torch.backends.cudnn.benchmark = True
    dtype = torch.half if device == "cuda" else torch.bfloat16  # which CPUs are faster at
    images, targets = work.images(root)
    size, steps = images.shape[-1], len(images) // work.batch
    inputs = images.to(device, dtype, memory_format=torch.channels_last)
    targets = targets.to(device)
    padded = nn.functional.pad(inputs, (PAD, PAD, PAD, PAD), mode="reflect") if work.augments else inputs
    model = half(work.model().to(device), dtype)
    forward = torch.compile(model, mode="reduce-overhead") if compiles else model
    loss_fn = nn.CrossEntropyLoss(reduction="sum")
    rate = LR / work.batch  # as the loss is a sum
    optimizer = SGD(model.parameters(), lr=rate, momentum=MOMENTUM, nesterov=True, fused=True)
    meter = Meter(device, work.length, work.batch)
    while True:
        order, total = torch.randperm(len(targets), device=device), torch.zeros((), device=device)
        inputs = crop_and_flip(padded, size) if work.augments else inputs
        for batch in order.split(work.batch)[:steps]:
            loss = loss_fn(forward(inputs[batch]), targets[batch])
            total += loss.detach()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if meter.step():
                return meter.row()
        total.item()  # the only value that is read


def half(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return the model in half precision and channels last; batch normalization stays in single precision."""
    model.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.float()
    return model
