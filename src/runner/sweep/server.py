"""A process that has imported torch and the runner once, and forks one for each job: isolation for milliseconds.

The server never computes and never touches an accelerator, so that what is forked from it starts clean. Nothing here
imports torch: who drives a sweep stays small.
"""

import multiprocessing
import signal
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import RunnerError

if TYPE_CHECKING:  # the door starts the server before it imports anything else
    from runner.settings import Config

context = multiprocessing.get_context("forkserver")


def start() -> None:
    """Starts the server, where it does not run yet; it imports while the caller goes on."""
    from multiprocessing import forkserver

    context.set_forkserver_preload(["runner.sweep.preload"])
    forkserver.ensure_running()


def check(configs: Mapping[int, "Config"]) -> tuple[dict[int, Sequence[str]], list[str]]:
    """Checks numbered configs in a process of its own; returns the problems of those that have some, and the GPUs.

    Raises:
        RunnerError: the process died.
    """
    receive, send = context.Pipe(duplex=False)
    values = {number: config.model_dump(mode="json") for number, config in configs.items()}
    process = context.Process(target=_check, args=(values, send))
    process.start()
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
    values = config.model_dump(mode="json")
    process = context.Process(target=_work, args=(values, folder, overrides, dict(swept), gpu), name=folder.name)
    process.start()
    return process


def draw(table: Any, target: Path) -> None:
    """Draws the picture of a sweep's table. Raises RunnerError when it cannot."""
    process = context.Process(target=_draw, args=(table, target))
    process.start()
    process.join()
    if process.exitcode:
        raise RunnerError(f"{target}: the process that drew it {describe_exit(process.exitcode)}")


def _draw(table: Any, target: Path) -> None:
    from runner.sweep.picture import draw

    draw(table, target)


def _check(values: dict[int, dict[str, Any]], send: Connection) -> None:
    from runner.sweep.worker import check_all

    check_all(values, send)


def _work(values: dict[str, Any], folder: Path, overrides: list[str], swept: dict[str, Any], gpu: str | None) -> None:
    from runner.sweep.worker import work

    work(values, folder, overrides, swept, gpu)


def describe_exit(code: int | None) -> str:
    """How a process ended, in words."""
    if code == -signal.SIGKILL:
        return "killed by SIGKILL: someone's kill -9, or the system because memory ran out"
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}: {signal.strsignal(-code)}"
    return f"ended itself with exit code {code}"
