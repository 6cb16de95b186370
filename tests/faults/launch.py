"""Start the real torchrun in a network namespace of its own, because its store listens on all interfaces."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


class Torchrun:
    """A torchrun process with its ranks.

    Args:
        folder: working directory; the output goes into torchrun.txt there.
        options: options of torchrun, such as --nproc_per_node=2.
        arguments: arguments of `python -m runner`.
        namespace: name of a network namespace; None: a new one with a loopback interface.
    """

    def __init__(
        self, folder: Path, options: Sequence[str], arguments: Sequence[str], namespace: str | None = None
    ) -> None:
        self.log = folder / "torchrun.txt"
        root = [] if os.getuid() == 0 else ["--map-root-user"]
        own = ["unshare", *root, "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"]
        enter = own if namespace is None else ["ip", "netns", "exec", namespace]
        interface = "lo" if namespace is None else f"v{namespace}"
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*enter, *TORCHRUN, *options, "-m", "runner", *arguments],
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": interface},
                start_new_session=True,
            )

    def ranks(self) -> dict[int, int]:
        """Return the process ids of the living ranks, by rank."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, ValueError):
                parent = int((folder / "stat").read_text().rpartition(") ")[2].split()[1])
                if parent == self.process.pid:
                    variables = (folder / "environ").read_bytes().split(b"\0")
                    (rank,) = [int(each[5:]) for each in variables if each.startswith(b"RANK=")]
                    found[rank] = int(folder.name)
        return found

    def kill_all(self) -> None:
        """Kill torchrun and its ranks, as the loss of a machine does."""
        for pid in [self.process.pid, *self.ranks().values()]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def wait(self, timeout: float = 300) -> int:
        """Return the exit code."""
        return self.process.wait(timeout)

    def output(self) -> str:
        """Return what torchrun and the ranks have printed."""
        return self.log.read_text()


def can_unshare() -> bool:
    """Return whether this machine can make network namespaces."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    root = [] if os.getuid() == 0 else ["--map-root-user"]
    return (
        subprocess.run(["unshare", *root, "--net", "ip", "link", "set", "lo", "up"], capture_output=True).returncode
        == 0
    )


def wait_for(happened: Callable[[], bool], torchrun: Torchrun, seconds: float = 60) -> None:
    """Wait until a condition holds, or fail with the output of torchrun."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, torchrun.output()
        assert torchrun.process.poll() is None, torchrun.output()
        time.sleep(0.02)
