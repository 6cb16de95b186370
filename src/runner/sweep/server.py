"""A process that has imported torch and the runner once, and forks one for each job: isolation for milliseconds.

The server never computes and never touches an accelerator, so that what is forked from it starts clean. Nothing here
imports torch: who drives a sweep stays small.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from multiprocessing.popen_forkserver import Popen
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import RunnerError

if TYPE_CHECKING:  # the door starts the server before it imports anything else
    from runner.config.schema import Config

context = multiprocessing.get_context("forkserver")
LOST = 256  # stands for the exit code of a process whose server has died: no process can end with it


class Watched(Popen):
    """A process of which the server says how it ended; multiprocessing takes a dead server for an exit code of 255."""

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        if self.returncode is None and wait([self.sentinel], 0 if flag == os.WNOHANG else None):
            try:
                self.returncode = forkserver.read_signed(self.sentinel)
            except (OSError, EOFError):
                self.returncode = LOST
        return self.returncode


class Process(ForkServerProcess):
    """A process that is forked from the server."""

    @staticmethod
    def _Popen(process_obj: Any) -> Watched:  # noqa: N802
        return Watched(process_obj)


def start() -> None:
    """Starts the server, where it does not run yet; it imports while the caller goes on."""
    context.set_forkserver_preload(["runner.sweep.preload"])
    forkserver.ensure_running()


def check(configs: Mapping[int, "Config"]) -> tuple[dict[int, Sequence[str]], list[str]]:
    """Checks numbered configs in a process of its own; returns the problems of those that have some, and the GPUs.

    Raises:
        RunnerError: the process died.
    """
    receive, send = context.Pipe(duplex=False)
    values = {number: config.model_dump() for number, config in configs.items()}
    try:
        process = _start(_check, values, send)
    except OSError as error:
        raise RunnerError(str(error)) from error
    send.close()
    try:
        found: tuple[dict[int, Sequence[str]], list[str]] = receive.recv()
    except EOFError:
        process.join()
        raise RunnerError(f"the process that checked the jobs {describe_exit(process.exitcode)}") from None
    process.join()
    return found


def start_job(
    config: "Config", folder: Path, overrides: list[str], swept: Mapping[str, Any], gpu: str | None
) -> ForkServerProcess:
    """Starts a run in its folder, or continues it there; all that it prints goes into its run.log.

    Args:
        gpu: the only one that the job may see; None leaves all.
    """
    values = config.model_dump()
    return _start(_work, values, folder, overrides, dict(swept), gpu)


def start_drawing(table: Any, target: Path) -> ForkServerProcess:
    """Starts to draw the picture of a sweep's table. Raises OSError."""
    return _start(_draw, table, target)


def _start(target: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    """A process that does this; where the server has just died, from a new one. Raises OSError."""
    for last in (False, True):
        process = Process(target=target, args=arguments)
        try:
            process.start()
            break
        except (EOFError, OSError) as error:
            if last:
                raise OSError(f"the server of the jobs does not answer: {error}") from error
    return process


def _draw(table: Any, target: Path) -> None:
    from runner.sweep.picture import draw
    from runner.sweep.worker import die_with_the_driver

    die_with_the_driver()
    draw(table, target)


def _check(values: dict[int, dict[str, Any]], send: Connection) -> None:
    from runner.sweep.worker import check_all

    check_all(values, send)


def _work(values: dict[str, Any], folder: Path, overrides: list[str], swept: dict[str, Any], gpu: str | None) -> None:
    from runner.sweep.worker import work

    work(values, folder, overrides, swept, gpu)


def describe_exit(code: int | None) -> str:
    """How a process ended, in words."""
    if code == LOST:
        return "killed with the server that it came from: someone's kill -9, or the system because memory ran out"
    if code == -signal.SIGKILL:
        return "killed by SIGKILL: someone's kill -9, or the system because memory ran out"
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}: {signal.strsignal(-code)}"
    return f"ended itself with exit code {code}"
