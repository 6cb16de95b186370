"""The processes of a job, which start and end together.

Several processes are the ranks of one data-parallel run. They get the environment variables of torchrun. On one machine
they meet in a file and talk over the loopback interface, so that no port is open to other machines.
"""

import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from runner.sweep.execution.server import LOST

GRACE = 5.0  # seconds to wait: for a save after a timeout, for rank 0 after another rank failed, for a killed process
ORDERLY = (0, 130, 143)  # exit codes of a rank that has trained to the end, or was asked to stop
LOOPBACK = ("lo", "lo0")  # names of the loopback interface on Linux and macOS


def variables(rank: int, size: int, local_rank: int, local_size: int) -> dict[str, str]:
    """Return the environment variables with which torchrun informs a process of its rank.

    Args:
        rank: rank of the process.
        size: world size.
        local_rank: rank on its machine.
        local_size: number of ranks on its machine.
    """
    numbers = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": local_rank, "LOCAL_WORLD_SIZE": local_size}
    return {name: str(number) for name, number in numbers.items()}


def on_loopback(store: Path) -> dict[str, str]:
    """Return the environment variables of ranks on one machine.

    Args:
        store: file in which they meet.
    """
    found = [name for _, name in socket.if_nameindex() if name in LOOPBACK]
    interface = {"GLOO_SOCKET_IFNAME": found[0], "NCCL_SOCKET_IFNAME": found[0]} if found else {}
    return {"MASTER_ADDR": "127.0.0.1", "RUNNER_STORE": str(store)} | interface


def is_alive(pid: int) -> bool:
    """Return whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for_end(pid: int) -> None:
    """Wait until a killed process has ended, which frees its folder; a few seconds at most."""
    end = time.monotonic() + GRACE
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.01)


class Ranks:
    """The running processes of a job, by rank. The first one is rank 0, or the rank of this task of another launcher.

    Args:
        start: starts a process with additional environment variables.
        count: number of processes.
        environment: additional environment variables of all processes.

    Raises:
        OSError: a process cannot be started; those before it have been killed.
    """

    def __init__(
        self, start: Callable[[Mapping[str, str]], ForkServerProcess], count: int, environment: Mapping[str, str]
    ) -> None:
        self.processes: list[ForkServerProcess] = []
        self.killed: set[int] = set()  # ranks that were killed by `kill`
        self.store: Path | None = None
        self._failed: float | None = None  # when a rank was found to have failed while rank 0 was running
        try:
            for each in self._environments(count):
                self.processes.append(start({**environment, **each}))
        except OSError:
            self.end()
            raise

    def _environments(self, count: int) -> list[dict[str, str]]:
        if count == 1:
            return [{}]
        handle, name = tempfile.mkstemp(prefix="runner-ranks-")
        os.close(handle)
        self.store = Path(name)
        return [variables(rank, count, rank, count) | on_loopback(self.store) for rank in range(count)]

    @property
    def sentinel(self) -> int:
        """What becomes ready when rank 0 ends; see `multiprocessing.connection.wait`."""
        return self.processes[0].sentinel

    def is_alive(self) -> bool:
        """Return whether rank 0 runs."""
        return self.processes[0].is_alive()

    def is_stuck(self) -> bool:
        """Return whether another rank failed a few seconds ago, which rank 0 should have noticed by now."""
        if self._failed is None and any(each.exitcode not in (None, *ORDERLY) for each in self.processes[1:]):
            self._failed = time.monotonic()
        return self._failed is not None and time.monotonic() - self._failed > GRACE

    def blame(self) -> tuple[int, int | None]:
        """Return the rank that ended the job, and its exit code.

        It is the first rank that was killed by a signal, other than those of `kill`, or else that failed.
        """
        codes = {rank: each.exitcode for rank, each in enumerate(self.processes) if rank not in self.killed}
        killed = [rank for rank, code in codes.items() if code is not None and (code < 0 or code == LOST)]
        failed = [rank for rank, code in codes.items() if code not in (None, *ORDERLY)]
        rank = (killed or failed or [0])[0]
        return rank, self.processes[rank].exitcode

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to rank 0; all ranks then agree to stop after the same step."""
        pid = self.processes[0].pid
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """Kill the ranks that run, with all processes that they have started."""
        for rank, process in enumerate(self.processes):
            if process.pid is not None and process.exitcode in (None, LOST):  # a LOST one may have outlived the server
                if process.exitcode is None:
                    self.killed.add(rank)
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill the ranks that are left, wait until they have ended, and delete the store."""
        self.kill()
        for process in self.processes:
            process.join(GRACE)
            if process.exitcode == LOST and process.pid is not None:
                wait_for_end(process.pid)
            with suppress(ValueError):  # it has not ended in time
                process.close()
        if self.store is not None:
            self.store.unlink(missing_ok=True)
