"""Run commands with several ranks, forked from one process that has imported torch, so that they start at once.

The ranks meet as under torchrun, in a store on the loopback interface. Usage: a list of jobs as JSON on standard input;
the exit codes of their ranks as JSON on standard output.
"""

import contextlib
import importlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

MODULES = ("runner.cli", "runner.runs.run", "runner.vision", "torchmetrics", "torch._dynamo", "matplotlib.figure")


class Job(TypedDict):
    """A command to run.

    Args:
        folder: working directory, which is created.
        processes: world size.
        arguments: arguments of `python -m runner`.
        environment: environment variables by rank, as a string; "all" for those of all ranks.
    """

    folder: str
    processes: int
    arguments: list[str]
    environment: dict[str, dict[str, str]]


def job(folder: Path, processes: int, arguments: Sequence[str], **environment: dict[str, str]) -> Job:
    """Return a job; the environment variables of rank 1 are named `rank1`."""
    by_rank = {name.removeprefix("rank"): values for name, values in environment.items()}
    return {"folder": str(folder), "processes": processes, "arguments": [*arguments], "environment": by_rank}


def run_jobs(jobs: Sequence[Job], timeout: float = 600) -> list[list[int]]:
    """Run jobs one after another; return the exit codes of the ranks of each. Output goes to output-RANK.txt."""
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
    )
    assert done.returncode == 0, done.stderr
    codes: list[list[int]] = json.loads(done.stdout)
    return codes


def output(folder: Path, rank: int = 0) -> str:
    """Return the output of a rank."""
    return (folder / f"output-{rank}.txt").read_text()


def start_rank(number: int, port: int, job: Job) -> int:
    """Run a rank in a forked process; return the process id."""
    child = os.fork()
    if child:
        return child
    code = 70
    with contextlib.suppress(BaseException):
        os.chdir(job["folder"])
        file = os.open(f"output-{number}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.environ.update(job["environment"].get("all", {}) | job["environment"].get(str(number), {}))
        if job["processes"] > 1:
            os.environ.update(torchrun_variables(number, job["processes"], port))
        sys.argv = ["runner", *job["arguments"]]
        from runner.__main__ import main

        code = main()
    os._exit(code)


def torchrun_variables(rank: int, processes: int, port: int) -> dict[str, str]:
    """Return the environment variables that torchrun sets for a rank."""
    return {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
    }


def open_agent_store() -> tuple[Any, int]:
    """Return a store that listens on the loopback interface only, and its port; torchrun's listens on all."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public, but not explicitly re-exported

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    port = listener.getsockname()[1]
    store = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach())
    return store, port


def main() -> None:
    """Run the jobs on standard input."""
    for module in MODULES:
        importlib.import_module(module)
    codes = []
    for each in json.load(sys.stdin):
        Path(each["folder"]).mkdir(parents=True, exist_ok=True)
        store, port = open_agent_store()
        ranks = [start_rank(number, port, each) for number in range(each["processes"])]
        codes.append([os.waitstatus_to_exitcode(os.waitpid(rank, 0)[1]) for rank in ranks])
        del store
    print(json.dumps(codes))


if __name__ == "__main__":
    main()
