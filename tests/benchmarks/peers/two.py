"""Run a Python command as two ranks with one thread each, as torchrun does, on the loopback interface.

Usage: two.py ARGUMENTS OF PYTHON
"""

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from faults.forked import open_agent_store, torchrun_variables


def main() -> int:
    """Run the command; return its first exit code that is not 0."""
    store, port = open_agent_store()  # kept open until the ranks end
    common = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    ranks = [
        subprocess.Popen([sys.executable, *sys.argv[1:]], env=common | torchrun_variables(rank, 2, port))
        for rank in range(2)
    ]
    codes = [rank.wait() for rank in ranks]
    del store
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main())
