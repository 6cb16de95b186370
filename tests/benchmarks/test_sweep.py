"""Eight learning rates over LeNet on the digits, as a sweep and as eight processes one after another."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.bench
RATES = ("0.3", "0.1", "0.03", "0.02", "0.01", "0.005", "0.001", "0.0001")
TARGET = 0.15


def seconds(folder: Path, *arguments: str) -> float:
    """How long a command takes, from prompt to prompt."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "runner", "trainer.epochs=5", *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.monotonic() - begun


def test_a_sweep_against_a_process_for_each_job(tmp_path: Path) -> None:
    ratios = []
    for _ in range(3):
        together = seconds(tmp_path, "-m", f"optim.lr={','.join(RATES)}")
        apart = sum(seconds(tmp_path, f"optim.lr={rate}") for rate in RATES)
        ratios.append(together / apart)
        print(f"\neight jobs: sweep {together:.1f} s, processes {apart:.1f} s, ratio {ratios[-1]:.3f}")
    assert sorted(ratios)[1] <= TARGET
