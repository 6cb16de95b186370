import subprocess
import sys
from pathlib import Path

import pytest

REAL = "'torch._dynamo.eval_frame' in sys.modules"
TRAIN = """
import sys, torch
from runner.speed.dynamo import import_when_needed
from runner.optim import TORCH
from runner.speed.labels import ORIGINAL, label_when_profiled
import_when_needed()
label_when_profiled()
model = torch.nn.Linear(2, 1)
for name, kind in TORCH.items():
    if name == "muon":
        continue
    optimizer = kind(model.parameters(), lr=0.1)
    torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=5) if name == "sgd" else None
    def closure():
        optimizer.zero_grad()
        loss = model(torch.ones(3, 2)).sum()
        loss.backward()
        return loss
    closure()
    optimizer.step(closure)
    optimizer.load_state_dict(optimizer.state_dict())
"""


def run(code: str, folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_eager_training_does_not_import_dynamo(tmp_path: Path) -> None:
    run(f"{TRAIN}\nassert not {REAL}", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "use",
    [
        "import torch._dynamo\ntorch._dynamo.config.verbose",
        "from torch._dynamo import config\nconfig.verbose",
        "import torch._dynamo.config as config\nconfig.verbose",
        "import torch._dynamo.eval_frame",
        "torch._dynamo.reset()",
        "assert torch.compile(lambda x: x + 1, backend='eager')(torch.ones(1)).item() == 2",
    ],
)
def test_any_other_use_imports_dynamo(tmp_path: Path, use: str) -> None:
    end = "import torch._dynamo\nassert torch._dynamo is sys.modules['torch._dynamo']\nassert torch._dynamo.__file__"
    end += "\nassert torch.autograd.profiler.record_function is ORIGINAL"
    run(f"{TRAIN}\n{use}\nassert {REAL}\n{end}\n{TRAIN}", tmp_path)


@pytest.mark.slow
def test_already_imported_dynamo_is_kept(tmp_path: Path) -> None:
    run(f"import torch._dynamo as before\n{TRAIN}\nassert sys.modules['torch._dynamo'] is before", tmp_path)
