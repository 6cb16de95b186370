"""The fork server: a process that has imported torch and runner, and forks a process for each job.

A job therefore starts within milliseconds, and its death harms no other. The server itself computes nothing and never
uses an accelerator, so that a forked process starts in a clean state.

The driver of a sweep stays small, because it never imports torch. `worker` does, so it is imported only by the
functions that run in a forked process.
"""

import ctypes
import gc
import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from multiprocessing.popen_forkserver import Popen
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import RunnerError

if TYPE_CHECKING:  # the driver starts the server before it imports pydantic
    from runner.config.schema import Config

context = multiprocessing.get_context("forkserver")
LOST = 256  # stands for the unknown exit code of a process whose server died; no process can exit with 256
PR_SET_PDEATHSIG = 1  # of prctl(2)
PRELOADED = (
    "runner.sweep.execution.worker",
    "numpy.random",  # imported when numpy is seeded
    "torch.utils.serialization",  # imported by torch.save
)
PRELOADED_LATER = (  # a quarter of a second; the process that checks the jobs does not need these
    "runner.tracking.pictures",
    "PIL.JpegImagePlugin",  # these are imported when Pillow writes an image
    "PIL.GifImagePlugin",
    "PIL.PpmImagePlugin",
)


class Watched(Popen):
    """A process whose exit code the server reports; if the server is dead, it is `LOST`, not 255 as by default."""

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
    """Start the server unless it is running; return at once, while the server still imports torch."""
    context.set_forkserver_preload(["runner.sweep.execution.preload"])
    forkserver.ensure_running()


def prepare() -> None:
    """Turn this process into the server: detach it from the driver's terminal and import all that a run needs."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)  # so that a reader of the driver's output need not wait for the end of the server
    with suppress(OSError):
        os.setsid()  # so that Ctrl-C in the terminal reaches only the driver, which stops the jobs
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # clusters signal all processes, but the server must outlive the jobs

    from runner.machine.startup import speed_up

    speed_up()
    for module in PRELOADED:
        importlib.import_module(module)
    from runner.plugins import installed_plugins
    from runner.registry import ALL_REGISTRIES

    installed_plugins()
    for registry in ALL_REGISTRIES.values():
        registry.names()  # imports the components
    gc.freeze()  # jobs share this memory with the server as long as their garbage collectors do not touch it
    import_after_fork(PRELOADED_LATER)


def import_after_fork(modules: Sequence[str]) -> None:
    """Import modules in this process as soon as it has forked another one, so that both work at the same time.

    The first process that is forked is usually the one that checks the jobs.
    """
    here, left = os.getpid(), list(modules)

    def import_rest() -> None:
        if os.getpid() == here and left:  # not in forked processes, which may fork, too
            names, left[:] = list(left), []
            for name in names:
                importlib.import_module(name)
            gc.freeze()

    os.register_at_fork(after_in_parent=import_rest)


def start_process(target: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    """Start a process that calls `target` and ends when the driver does. If the server has died, start a new one first.

    Raises:
        OSError: the process cannot be started.
    """
    for last in (False, True):
        process = Process(target=_run, args=(target, *arguments))
        try:
            process.start()
            break
        except (EOFError, OSError) as error:
            if last:
                raise OSError(f"the fork server does not answer: {error}") from error
    return process


def check(configs: Mapping[int, "Config"], tasks: int = 1) -> tuple[dict[int, Sequence[str]], list[str]]:
    """Check configs in a process of their own.

    Args:
        configs: the configs by number.
        tasks: number of tasks in which another launcher runs each job; its processes, if there are several.

    Returns:
        The problems by the same numbers, only for configs that have some; and the GPUs of this machine.

    Raises:
        RunnerError: the process died.
    """
    receive, send = context.Pipe(duplex=False)
    values = {number: config.model_dump() for number, config in configs.items()}
    try:
        process = start_process(_check, values, tasks, send)
    except OSError as error:
        raise RunnerError(str(error)) from error
    send.close()
    try:
        found: tuple[dict[int, Sequence[str]], list[str]] = receive.recv()
    except EOFError:
        process.join()
        raise RunnerError(f"the process that checked the jobs failed: {describe_exit(process.exitcode)}") from None
    process.join()
    return found


def start_job(
    config: "Config", folder: Path, overrides: list[str], swept: Mapping[str, Any], environment: Mapping[str, str]
) -> ForkServerProcess:
    """Start or continue a run in its folder, or one of its ranks; its output is appended to run.log there.

    Args:
        config: the complete config of the job.
        folder: the run folder.
        overrides: the overrides that the config was composed from.
        swept: the values of the swept keys.
        environment: additional environment variables: the rank of the process, and the GPUs that it sees.

    Raises:
        OSError: the process cannot be started.
    """
    return start_process(_work, config.model_dump(), folder, overrides, dict(swept), dict(environment))


def describe_exit(code: int | None) -> str:
    """Return in words how a process ended."""
    if code == LOST:
        return "lost with the fork server, which was killed: kill -9, or out of memory"
    if code == -signal.SIGKILL:
        return "killed by SIGKILL: kill -9, or out of memory"
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}: {signal.strsignal(-code)}"
    return f"exited with code {code}"


def _run(target: Callable[..., None], *arguments: Any) -> None:
    die_with_the_driver()
    target(*arguments)


def _check(values: dict[int, dict[str, Any]], tasks: int, send: Connection) -> None:
    from runner.sweep.execution.worker import check_all

    check_all(values, tasks, send)


def _work(
    values: dict[str, Any], folder: Path, overrides: list[str], swept: dict[str, Any], environment: dict[str, str]
) -> None:
    from runner.sweep.execution.worker import work

    work(values, folder, overrides, swept, environment)


def die_with_the_driver() -> None:
    """Kill this process, and all that it starts, as soon as the driver has ended in whatever way."""
    os.setsid()
    driver = multiprocessing.parent_process()
    assert driver is not None
    with suppress(OSError, AttributeError):  # on Linux, the kernel kills it with the server, even if its threads hang
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.close(forkserver._forkserver._forkserver_alive_fd)  # type: ignore[attr-defined]  # else the server stays

    def watch() -> None:
        wait([driver.sentinel])
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
