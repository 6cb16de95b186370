"""The default run from prompt to prompt, against a script that imports torch and trains the same bare."""

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest

pytestmark = pytest.mark.bench
TARGET = 1.5  # seconds above the script
BARE = """
import numpy as np, torch
from torch import nn
from runner.dataset.digits import table_path
from runner.model.lenet import LeNet
table = torch.from_numpy(np.loadtxt(table_path(), delimiter=",", dtype=np.uint8))
inputs, targets = nn.functional.interpolate(table[:, :64].float().view(-1, 1, 8, 8) / 16, size=32), table[:, 64].long()
torch.manual_seed(0)
model, loss = LeNet((1, 32, 32), 10), nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
for epoch in range(15):
    order = torch.randperm(1295)
    for start in range(0, 1295, 32):
        batch = order[start : start + 32]
        optimizer.zero_grad()
        loss(model(inputs[batch]), targets[batch]).backward()
        optimizer.step()
    with torch.no_grad():
        accuracy = (model(inputs[1295:]).argmax(1) == targets[1295:]).float().mean()
"""


def seconds(folder: Path, *command: str) -> float:
    begun = time.monotonic()
    subprocess.run([sys.executable, *command], cwd=folder, check=True, capture_output=True)
    return time.monotonic() - begun


def test_the_default_run_against_a_bare_script(tmp_path: Path) -> None:
    pairs = [(seconds(tmp_path, "-m", "runner"), seconds(tmp_path, "-c", BARE)) for _ in range(5)]
    for ours, bare in pairs:
        print(f"\ndefault run {ours:.2f} s, bare script {bare:.2f} s, difference {ours - bare:.2f} s")
    assert median(ours - bare for ours, bare in pairs) <= TARGET
