"""Minimal data-parallel loop: DistributedDataParallel with its defaults, all data in memory.

Usage: ddp.py DATA BATCH STEPS, on each rank; BATCH is the size of the global batch.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from common import MEAN, MODELS, RATE, STD, Report, read
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD


def main(data: Path, batch: int, steps: int) -> None:
    """Train LeNet-5."""
    report = Report()
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    images, targets = read(data, "train")
    inputs = (images.float() / 255 - MEAN) / STD
    torch.manual_seed(0)
    model, loss = DistributedDataParallel(MODELS["lenet"]()), nn.CrossEntropyLoss()
    optimizer = SGD(model.parameters(), lr=RATE["lenet"], momentum=0.9)
    report.begin()
    for indices in torch.randperm(len(inputs))[: batch * steps].split(batch):
        own = indices.tensor_split(size)[rank]
        optimizer.zero_grad()
        loss(model(inputs.index_select(0, own)), targets.index_select(0, own)).backward()
        optimizer.step()
        report.step()
    report.end(batch * steps)
    dist.destroy_process_group()
    if rank == 0:
        report.write()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
