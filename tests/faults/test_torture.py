import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_runs_killed_at_random_moments_equal_uninterrupted_runs() -> None:
    script = Path(__file__).with_name("torture.py")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, script, "--kills=30"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 different" in done.stdout
