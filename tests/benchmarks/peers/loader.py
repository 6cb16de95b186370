"""torchvision's ImageFolder in a DataLoader with two workers, without training.

Usage: loader.py FOLDER
"""

import sys

from common import BATCH, Report
from torch.utils.data import DataLoader

from runner.vision import torchvision  # declares operators that CPU-only builds lack

if __name__ == "__main__":
    report = Report()
    to_tensor = torchvision.transforms.ToTensor()
    pictures = torchvision.datasets.ImageFolder(sys.argv[1], transform=to_tensor)
    report.begin()
    for _ in DataLoader(pictures, batch_size=BATCH, shuffle=True, num_workers=2):
        report.step()
    report.end(len(pictures))
    report.write()
