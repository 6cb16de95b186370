import subprocess
import sys

import pytest

CODE = """
import torch
from runner.vision import torchvision
from torchvision.transforms import v2

model = torchvision.models.resnet18(num_classes=10).eval()
with torch.inference_mode():
    print(tuple(model(torch.zeros(2, 3, 64, 64)).shape))
print(v2.functional.horizontal_flip(torch.arange(3).view(1, 1, 3)).flatten().tolist())
print(torchvision.datasets.utils.download_url.__name__)
"""


@pytest.mark.slow
def test_torchvision_builds_models_in_a_fresh_process() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["(2, 10)", "[2, 1, 0]", "download_url"]
