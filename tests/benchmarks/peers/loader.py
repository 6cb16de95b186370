"""torchvision's ImageFolder and a DataLoader with two workers, and nothing that trains. Usage: loader.py FOLDER"""

import sys

from common import BATCH, Report
from torch.utils.data import DataLoader

from runner.vision import torchvision  # declares the operators that a CPU-only build lacks

if __name__ == "__main__":
    report = Report()
    to_tensor = torchvision.transforms.ToTensor()
    pictures = torchvision.datasets.ImageFolder(sys.argv[1], transform=to_tensor)
    report.begin()
    for _ in DataLoader(pictures, batch_size=BATCH, shuffle=True, num_workers=2):
        report.step()
    report.end(len(pictures))
    report.tell()
