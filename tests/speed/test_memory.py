import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from runner.speed.memory import keep_freed_memory
if {keep}:
    keep_freed_memory()
for _ in range(50):  # until the heap is large enough, which takes up to a dozen blocks
    torch.ones(1 << 24)  # 64 MiB
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(1 << 24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_freed_memory_is_reused() -> None:
    def faults(keep: bool) -> int:
        command = [sys.executable, "-c", FAULTS.format(keep=keep)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert faults(keep=True) < 100 < faults(keep=False)
